"""The curves of a run in TensorBoard's file."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from dnnlib.errors import WriteError
from training.progress import Progress


class Board:
    """TensorBoard's event file; steps are thousands of images. Values that are not finite are left out.

    Points of an earlier session from after its last checkpoint are declared void, as they will come again.
    """

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder = folder
        first = progress.tick_nimg // 1000 + 1 if progress.tick else 0
        with self._writing():
            self._writer = SummaryWriter(str(folder), purge_step=first)

    def write(self, values: Mapping[str, float], kimg: float) -> None:
        """Add one point to each of the named curves.

        Raises:
            WriteError: the disk is full or the folder went away.
        """
        with self._writing():
            for name, value in values.items():
                if np.isfinite(value):
                    self._writer.add_scalar(name, value, global_step=int(kimg))
            self._writer.flush()

    def close(self) -> None:
        """Flush and close."""
        with self._writing():
            self._writer.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise WriteError(
                f"cannot write TensorBoard's file in {self._folder}: {error.strerror}; free space and run the same "
                "command again"
            ) from error
