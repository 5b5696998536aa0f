"""What a command has shown, and what it wrote for people: text of files in it must be text and nothing else."""

import html.parser
from collections.abc import Iterator
from pathlib import Path

from benchmarks.attack.changes import MARK

_LAYOUT = "\n\t"
_DEPTH = 5  # of folders that a command writes to


def obeyed(output: str, folder: Path) -> str:
    """The first place where text from a file is more than text: in a terminal, a page, a log, or TensorBoard.

    Args:
        output: what the command printed.
        folder: below which it wrote its files.
    """
    return next((f"{where}: {why}" for where, why in _places(output, folder)), "")


def _places(output: str, folder: Path) -> Iterator[tuple[str, str]]:
    if why := _plain(output):
        yield "output", why
    for path in sorted(p for depth in range(1, _DEPTH) for p in folder.glob("/".join("*" * depth))):
        if not path.is_file() or path.is_symlink():
            continue
        if path.name == "log.txt" or path.suffix == ".md":
            if why := _plain(path.read_text(errors="replace")):
                yield path.name, why
        elif path.suffix == ".html":
            page = _Page()
            page.feed(path.read_text(errors="replace"))
            if page.found:
                yield path.name, page.found
        elif path.name.startswith("events.out.tfevents."):
            yield from ((path.name, why) for why in map(_plain, _tags(path)) if why)


def _plain(text: str) -> str:
    """What a terminal or a reader of lines would take for something else than text."""
    lines = text.replace("\r\n", "\n").split("\n")
    if any(line.startswith(MARK) for line in lines):
        return "a line of its own"
    odd = next((c for c in text if not c.isprintable() and c not in _LAYOUT), None)
    return "" if odd is None else f"the character {odd!r}"


class _Page(html.parser.HTMLParser):
    """Looks for elements and addresses that hostile text has become."""

    found = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if MARK.lower() in tag:
            self.found = f"the element {tag}"
        for name, value in attributes:
            if MARK.lower() in name or (value or "").strip().lower().startswith("javascript:"):
                self.found = f"the attribute {name}"


def _tags(path: Path) -> Iterator[str]:
    """The names of the curves in TensorBoard's file, and its texts."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    for event in EventFileLoader(str(path)).Load():
        for value in event.summary.value:
            yield value.tag
            yield from (text.decode(errors="replace") for text in value.tensor.string_val)
