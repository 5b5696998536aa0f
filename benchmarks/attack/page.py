"""The table of an attack, of several pieces together, as Markdown."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmarks.attack.runner import FILE_BYTES, KINDS, MEMORY, SECONDS


def page(pieces: Sequence[dict[str, Any]]) -> str:
    """The text; a piece has `command`, `provenance`, `cases` (kind -> number) and `faults` (kind -> lines)."""
    cases, faults = Counter(), Counter()
    for piece in pieces:
        cases.update(piece["cases"])
        faults.update({kind: len(found) for kind, found in piece["faults"].items()})
    rows = [f"| {kind} | {cases[kind]} | {faults[kind]} |" for kind in KINDS if cases[kind]]
    provenance = _common([piece["provenance"] for piece in pieces])
    return "\n".join(
        [
            "Each case gives a command one file (or folder, or server) that was changed by chance or made to do harm,",
            f"in a process with {MEMORY >> 30} GiB more memory than it starts with, {FILE_BYTES >> 20} MiB of a file",
            f"and {SECONDS} seconds. A failure is a traceback, a hang, too much memory, code of the file executed, a",
            "status other than 0 or 2, more than one error line, or text of a file that a terminal, a browser, a log",
            "or TensorBoard would take for more than text.", "",
            *(f"    {piece['command']}" for piece in pieces), "",
            *(f"* {key}: {value}" for key, value in provenance.items() if key != "command"), "",
            "| files | cases | failures |", "|---|---|---|", *rows,
            f"| all | {cases.total()} | {faults.total()} |", *_told(pieces), "",
        ]
    )  # fmt: skip


def _common(found: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Each value once, in the order of the pieces."""
    values: dict[str, list[str]] = {}
    for provenance in found:
        for key, value in provenance.items():
            values.setdefault(key, [])
            if str(value) not in values[key]:
                values[key].append(str(value))
    return {key: ", ".join(several) for key, several in values.items()}


def _told(pieces: Iterable[dict[str, Any]]) -> Iterator[str]:
    for kind in KINDS:
        lines = [fault for piece in pieces for fault in piece["faults"].get(kind, ())]
        for what, count in Counter(line.partition(":")[0] for line in lines).most_common():
            yield f"* {kind}: {count} x {what}"
