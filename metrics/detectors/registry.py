"""The detectors by key. A detector is one file that declares a `Pretrained`, and a line here."""

import os
from pathlib import Path

import torch

from dnnlib.checksum import check_sha256
from metrics.detectors.detector import Detector
from metrics.detectors.dinov2 import DINOV2
from metrics.detectors.inception import INCEPTION
from metrics.detectors.lite import LITE0, LITE2
from metrics.detectors.torchscript import open_torchscript
from metrics.detectors.vgg16 import LPIPS, VGG16

DETECTORS = {
    detector.key: detector
    for detector in (
        INCEPTION,
        VGG16,
        LPIPS,
        DINOV2,
        LITE0,
        LITE2,
    )
}


def open_detector(
    key: str,
    device: torch.device,
    *,
    file: str | os.PathLike | None = None,
    sha256: str | None = None,
    offline: bool = False,
    cache_dir: str | os.PathLike | None = None,
) -> Detector:
    """Open a detector.

    Args:
        key: of `DETECTORS`, or "file" for the TorchScript `file`.
        device: where it runs.
        file: only for "file".
        sha256: the file's SHA-256 in hexadecimal, or its first 8 digits or more; None accepts any. The first digits of
            some are published as part of the file's name; the record of a result holds the whole of what was used.
        offline: fetch nothing.
        cache_dir: where weights are fetched to; None for `DNNLIB_CACHE_DIR`, else `~/.cache/dnnlib`.

    Raises:
        DetectorUnavailable: its library is not installed, or its weights are neither in the folder
            `ROOTED_DETECTOR_DIR` nor in the cache and cannot be fetched, or they are damaged.
        UserError: `file` is no TorchScript file, or the SHA-256 is not the one expected.
    """
    path = Path(file) if key == "file" else DETECTORS[key].find(offline=offline, cache_dir=cache_dir)
    # Before anything in the file is read or run.
    check_sha256(
        path, sha256, "correct `detector_sha256` or replace the file (one hash fits the metrics of one detector)"
    )
    return open_torchscript(path, device) if key == "file" else DETECTORS[key].load(path, device)
