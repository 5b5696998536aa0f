"""Features of real images on disk, keyed by what they were computed from."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from dnnlib import atomic_write
from dnnlib.download import default_cache_dir

_FORMAT = 1


@dataclass(frozen=True)
class CacheKey:
    """Everything that features of real images depend on.

    Attributes:
        content_hash: of the selected images, `ImageDataset.content_hash()`: subset and flips included.
        count: the first so many of them.
        detector_hash: SHA-256 of the detector's weights.
        preprocessing: how images are made ready for the detector, in words.
        kind: "features" or "moments".
    """

    content_hash: str
    count: int
    detector_hash: str
    preprocessing: str
    kind: str

    def file_name(self) -> str:
        """A name that differs if any part differs."""
        parts = (self.content_hash, self.count, self.detector_hash, self.preprocessing, self.kind, _FORMAT)
        digest = hashlib.sha256("\n".join(str(part) for part in parts).encode()).hexdigest()
        return f"{self.kind}-{digest[:32]}.safetensors"


class FeatureCache:
    """A folder of safetensors files; readers see a file whole or not at all, as it is renamed into place.

    Args:
        folder: None for the folder `metrics` in `DNNLIB_CACHE_DIR`, else in `~/.cache/dnnlib`.
    """

    def __init__(self, folder: str | os.PathLike | None = None) -> None:
        self.folder = (Path(folder) if folder is not None else default_cache_dir()) / "metrics"

    def load(self, key: CacheKey) -> dict[str, np.ndarray] | None:
        """The arrays of a key; None if there are none or the file is damaged."""
        try:
            return safetensors.numpy.load_file(self.folder / key.file_name())
        except (FileNotFoundError, safetensors.SafetensorError):
            return None

    def save(self, key: CacheKey, arrays: dict[str, np.ndarray]) -> None:
        """Keep arrays.

        Raises:
            UserError: the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.folder / key.file_name()) as stream:
            stream.write(safetensors.numpy.save({name: np.ascontiguousarray(a) for name, a in arrays.items()}))
