"""Output that vanishes does not end a program."""

import contextlib
import io
import os
import subprocess
import sys

import click
import pytest

from dnnlib.console import OutlastingStream


class Refusing(io.StringIO):
    """A stream that the system stops taking anything from."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error, self.refuses = error, False

    def write(self, text: str) -> int:
        if self.refuses:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize(
    "error",
    [BrokenPipeError(32, "Broken pipe"), OSError(5, "Input/output error"), OSError(28, "No space left on device"),
     OSError(9, "Bad file descriptor"), ValueError("I/O operation on closed file.")],
)  # fmt: skip
@pytest.mark.parametrize("asked_before", [True, False])
def test_the_loss_is_told_once(error, asked_before):
    below, told = Refusing(error), []
    stream = OutlastingStream(below, "standard output")
    print("before", file=stream)
    if asked_before:
        stream.report_to(told.append)
    below.refuses = True
    for _ in range(3):
        print("after", file=stream, flush=True)
    if not asked_before:
        stream.report_to(told.append)
    assert below.getvalue() == "before\n"
    assert len(told) == 1
    assert told[0].startswith("standard output is gone (")
    assert not stream.isatty()


def test_other_errors_are_not_swallowed():
    below = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with pytest.raises(UnicodeEncodeError):
        OutlastingStream(below, "standard output").write("é")


PROGRAM = """
import sys
from dnnlib.console import outlast_console, report_lost_console
outlast_console()
told = []
report_lost_console(told.append)
for number in range(20_000):
    print("a line that fills the pipe", number)
    print("and one for the other", file=sys.stderr)
open("end", "w").write("\\n".join(told))
"""


@pytest.mark.parametrize(
    ("redirection", "told"),
    [(">&-", 0), ("2>&-", 0), (">&- 2>&-", 0), ("2>/dev/null | head -n 1", 1), ("2>&1 | head -n 1", 2),
     (">/dev/full 2>/dev/null", 1)],
)  # fmt: skip
def test_programs_reach_their_end(tmp_path, redirection, told):
    if "/dev/full" in redirection and not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    (tmp_path / "program.py").write_text(PROGRAM)
    command = f"set -o pipefail; {sys.executable} program.py {redirection}"
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    finished = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert "Traceback" not in finished.stderr
    assert len((tmp_path / "end").read_text().splitlines()) == told


def test_click_writes_through_it():
    stream = OutlastingStream(io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), "standard error")
    with contextlib.redirect_stderr(stream):
        assert click.get_text_stream("stderr") is stream
