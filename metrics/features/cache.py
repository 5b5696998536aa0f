"""Features of real images on disk, keyed by what they were computed from."""

import hashlib
import logging
import os
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from dnnlib import UserError, atomic_write
from dnnlib.paths import default_cache_dir

_log = logging.getLogger("metrics")
_FORMAT = 2


@dataclass(frozen=True)
class CacheKey:
    """Everything that features of real images depend on.

    Attributes:
        content_hash: of the selected images, `ImageDataset.content_hash()`: subset and flips included.
        count: the first so many of them.
        detector_hash: SHA-256 of the detector's weights.
        preprocessing: how images are made ready for the detector (size, filter, scaling), in words.
        libraries: name and version of each library that the detector's code comes from.
        device: type of the device that computed them; those of a GPU differ from a CPU's in the last digits.
        kind: "features", "moments", or what else was computed from them.
    """

    content_hash: str
    count: int
    detector_hash: str
    preprocessing: str
    libraries: str
    device: str
    kind: str

    def file_name(self) -> str:
        """A name that differs if any part differs."""
        parts = (*astuple(self), _FORMAT)
        digest = hashlib.sha256("\n".join(str(part) for part in parts).encode()).hexdigest()
        return f"{self.kind}-{digest[:32]}.safetensors"


class FeatureCache:
    """A folder of safetensors files; readers see a file whole or not at all, as it is renamed into place.

    A folder that cannot be used costs time, not results: it is said once, and everything goes on without it.

    Args:
        folder: None for the folder `metrics` in `DNNLIB_CACHE_DIR`, else in `~/.cache/dnnlib`.
    """

    def __init__(self, folder: str | os.PathLike | None = None) -> None:
        self.folder = (Path(folder) if folder is not None else default_cache_dir()) / "metrics"
        self._told = False

    def load(self, key: CacheKey) -> dict[str, np.ndarray] | None:
        """The arrays of a key; None if there are none, or the file is damaged or cannot be read."""
        try:
            return safetensors.numpy.load_file(self.folder / key.file_name())
        except (FileNotFoundError, safetensors.SafetensorError):
            return None
        except OSError as error:
            self._tell(error.strerror or f"{error}")
            return None

    def save(self, key: CacheKey, arrays: dict[str, np.ndarray]) -> None:
        """Keep arrays, if the folder can be written."""
        content = safetensors.numpy.save({name: np.ascontiguousarray(a) for name, a in arrays.items()})
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.folder / key.file_name()) as stream:
                stream.write(content)
        except OSError as error:
            self._tell(error.strerror or f"{error}")
        except UserError as error:  # of `atomic_write`, for whatever the file system said
            self._tell(getattr(error.__cause__, "strerror", None) or f"{error}")

    def _tell(self, reason: str) -> None:
        if not self._told:
            self._told = True
            _log.warning(
                "note: features of real images are not cached, as %s cannot be used (%s); "
                "set DNNLIB_CACHE_DIR to another folder",
                self.folder,
                reason,
            )
