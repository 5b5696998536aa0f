"""A disk for runs that can be filled: a small file system in memory where one may be mounted, else limits on files."""

import contextlib
import os
import resource
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SIZE = "96m"
_PIECE = 1 << 16


class Disk:
    """A folder for runs. Where it is no file system of its own, its being full is a limit of the process's files."""

    def __init__(self, folder: Path, is_mounted: bool) -> None:
        self.folder, self._is_mounted = folder, is_mounted

    def __str__(self) -> str:
        return "a full tmpfs" if self._is_mounted else "RLIMIT_FSIZE"

    @property
    def _filling(self) -> Path:
        return self.folder / "filling"

    def fill(self, process: Any) -> None:
        """Leave no room."""
        if self._is_mounted:
            with contextlib.suppress(OSError), open(self._filling, "wb", buffering=0) as stream:
                while stream.write(bytes(_PIECE)):
                    pass
        else:
            with contextlib.suppress(ProcessLookupError):
                _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4096, hard))

    def free(self) -> None:
        """Give the room back; a limit ends with its process."""
        self._filling.unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk() -> Iterator[Disk]:
    """A disk in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder]
        is_mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
        try:
            yield Disk(Path(folder), is_mounted)
        finally:
            if is_mounted:
                subprocess.run(["umount", folder], check=True)
