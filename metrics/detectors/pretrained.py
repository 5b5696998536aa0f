"""Detectors with published weights: what each file of this room declares, and how its weights are found and loaded."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from dnnlib import UserError, first_line
from dnnlib.checksum import file_sha256
from dnnlib.weights import PackagedFile, WeightFile, locate, locate_in_package
from metrics.detectors.detector import Detector, DetectorUnavailable, Network


@dataclass(frozen=True)
class Pretrained:
    """A network that metrics use. Only its weights are fetched: once, checked, and read as data, never as code.

    Attributes:
        key: its name in names of metrics: lower-case letters, then letters and digits.
        title: its name in records of results.
        preprocessing: how images are resized and scaled, in words; part of the key of cached features.
        weights: the file.
        libraries: the packages whose versions can change its features; the first one has its architecture.
        build: makes the network from (the weights by name, their file, the device). An `ImportError` means that the
            first library is missing, a `KeyError` or `RuntimeError` weights of another network.
        extra: of this project, that installs them.
        in_names: whether it can be named in any metric of features (`fd_<key>`, `kd_<key>`); otherwise it belongs to
            the metrics that ask for it themselves.
    """

    key: str
    title: str
    preprocessing: str
    weights: WeightFile | PackagedFile
    libraries: tuple[str, ...]
    build: Callable[[Mapping[str, torch.Tensor], Path, torch.device], Network]
    extra: str = "metrics"
    in_names: bool = False

    def find(self, *, offline: bool, cache_dir: str | os.PathLike | None) -> Path:
        """The file of weights: a package's, or fetched if it is neither in `ROOTED_DETECTOR_DIR` nor in the cache."""
        needed_by = f"the {self.key} detector"
        try:
            if isinstance(self.weights, PackagedFile):
                return locate_in_package(self.weights, needed_by)
            return locate(self.weights, needed_by, offline=offline, cache_dir=cache_dir)
        except UserError as error:
            raise DetectorUnavailable(
                f"{error}; swd runs without any detector, `detector`=FILE takes another"
            ) from error

    def load(self, path: Path, device: torch.device) -> Detector:
        """The detector with the weights in `path`.

        Raises:
            DetectorUnavailable: its library is not installed, or the file holds something else.
        """
        weights = _plain_tensors(path)
        try:
            network = self.build(weights, path, device)
        except ImportError as error:
            raise DetectorUnavailable(
                f"this metric needs {self.libraries[0]} ({error}); pip install 'rooted-stylegan[{self.extra}]', "
                "or choose swd"
            ) from error
        except torch.OutOfMemoryError:
            raise
        except (KeyError, RuntimeError) as error:
            raise DetectorUnavailable(
                f"{path} does not hold the weights of the {self.key} detector ({first_line(error)}); "
                f"{self.weights.remedy}"
            ) from error
        return Detector(self.title, path, file_sha256(path), self.preprocessing, network, libraries=self.libraries)


def _plain_tensors(path: Path) -> Mapping[str, torch.Tensor]:
    """Read a weight file with the unpickler that admits tensors only; what follows may then read it again."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch reports a damaged or dangerous file by several exceptions
        raise DetectorUnavailable(
            f"{path} is not a file of weights ({first_line(error)}); remove it and fetch it again"
        ) from error
