"""What each process of test_leaving.py does."""

import sys
from pathlib import Path

from dnnlib import UserError
from torch_utils.processes.distributed import world


def main(mistaken: bool) -> None:
    """Join a process group, leave it, and print the names of the threads that are left."""
    try:
        with world("cpu") as here:
            here.together(fail if mistaken else lambda: here.gather_object("a value"))
    except UserError:
        show_threads(sys.exc_info()[2])
    else:
        show_threads(here)


def fail() -> None:
    raise UserError("wrong")


def show_threads(reference: object) -> None:
    """With a reference to what has been left, as exceptions and callers hold one."""
    print(*(path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")), sep="\n")
    del reference
