"""What each process of test_watch.py does."""

import time
from pathlib import Path

from torch_utils.processes.distributed import world
from torch_utils.processes.watch import HEARTBEAT_SECONDS, Watch

SILENCE = 4.0


def main(output: Path, watched: bool) -> None:
    """Both processes wait for each other once; then rank 1's main thread sleeps, while rank 0 waits for it.

    It sleeps until it is ended where that is expected, else for longer than a stuck step is let pass.
    """

    def report(line: str) -> None:
        with open(output, "a", encoding="utf-8") as stream:
            stream.write(line + "\n")

    with world("cpu") as here:
        watch = Watch(here, report, silence=SILENCE)
        here.activity.watched = watched
        here.barrier()
        if here.rank == 1:
            time.sleep(600 if watched else SILENCE + 2 * HEARTBEAT_SECONDS)
        here.barrier()
        here.activity.watched = False
        watch.close()
