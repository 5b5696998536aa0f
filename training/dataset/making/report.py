"""What happened to the source's images: for the user's eyes, and as JSON."""

import os
from collections import Counter
from dataclasses import dataclass, field

from dnnlib import write_json
from training.dataset.making.source import Problem

_EXAMPLES = 3


@dataclass
class Report:
    """Collects, by source name, what was written, left out, changed, or found twice.

    Attributes:
        written: [name in the data set, name in the source].
        left_out: [name in the source, kind, detail].
        changed: what was done to an image beyond the asked-for (say "converted from CMYK"), with the names.
        duplicates: [name, name of the earlier image with the same pixels].
        findings: (what was looked for, [name, name of the image that belongs to it, a number]), of other judges.
    """

    written: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[tuple[str, str, str]] = field(default_factory=list)
    changed: dict[str, list[str]] = field(default_factory=dict)
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    findings: list[tuple[str, list[tuple[str, str, float]]]] = field(default_factory=list)

    def leave_out(self, name: str, problem: Problem) -> None:
        """Note that an image was left out."""
        self.left_out.append((name, problem.kind, problem.detail))

    def note(self, name: str, changes: list[str]) -> None:
        """Note what was done to an image."""
        for change in changes:
            self.changed.setdefault(change, []).append(name)

    def lines(self) -> list[str]:
        """Return the report for people: one line for each kind of event, with a few names."""
        lines = []
        for kind, count in sorted(Counter(kind for _, kind, _ in self.left_out).items()):
            some = [f"{name} ({detail})" if detail else name for name, k, detail in self.left_out if k == kind]
            lines.append(f"left out, {kind}: {count}: {_some(some)}")
        lines += [f"{change}: {len(names)}: {_some(names)}" for change, names in sorted(self.changed.items())]
        if self.duplicates:
            pairs = [f"{name} = {first}" for name, first in self.duplicates]
            lines.append(f"same pixels as an earlier image: {len(pairs)}: {_some(pairs)}")
        for what, found in self.findings:
            shown = [f"{name} and {other} ({value:.3g})" for name, other, value in found]
            lines.append(f"{what}: {len(found)}" + (f": {_some(shown)}" if found else ""))
        return lines

    def save(self, path: str | os.PathLike, summary: dict) -> None:
        """Write everything as JSON, with the `summary` on top."""
        content = {
            **summary,
            "left_out": [{"source": name, "kind": kind, "detail": detail} for name, kind, detail in self.left_out],
            "changed": self.changed,
            "duplicates": [{"source": name, "same_as": first} for name, first in self.duplicates],
            "findings": {
                what: [{"source": name, "other": other, "value": round(value, 4)} for name, other, value in found]
                for what, found in self.findings
            },
            "written": [{"name": name, "source": source} for name, source in self.written],
        }
        write_json(path, content, ensure_ascii=False)


def _some(names: list[str]) -> str:
    more = len(names) - _EXAMPLES
    return ", ".join(names[:_EXAMPLES]) + (f" and {more} more" if more > 0 else "")
