"""What each of two processes of test_processes.py does that evaluate a generator; rank 1 hangs in its second block."""

import os
import sys
import threading

import conftest

import metrics
from metrics.blocks import BLOCK
from torch_utils.processes.distributed import world
from torch_utils.processes.watch import Watch
from training.dataset import ImageDataset


class Hanging(conftest.StandInGenerator):
    """Stops for good when it is asked for the images after `last`."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.made, self.last = 0, last

    def synthesis(self, ws, **options):
        self.made += len(ws)
        if self.made > self.last:
            threading.Event().wait()
        return super().synthesis(ws, **options)


def main() -> None:
    """The watch ends both."""
    with world("cpu") as here, Watch(here, silence=4.0, remedy=f"ending process {os.getpid()}"):
        dataset = ImageDataset.from_arrays(conftest.coloured_images(300))
        generator = Hanging(BLOCK if here.rank == 1 else sys.maxsize)
        metrics.compute(["swd300"], G=generator, dataset=dataset, world=here)
