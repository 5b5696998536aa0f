"""Two folders of pictures of any size, shape and mode: what a detector that resizes makes of each by itself."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from metrics.detectors.registry import open_detector
from rooted_stylegan.calc_metrics import main
from training.dataset import ImageDataset
from training.dataset.mixed import MixedImages


def write(folder, seed, sizes, mode="RGB"):
    folder.mkdir()
    for i, size in enumerate(sizes):
        pixels = np.random.RandomState(seed + i).randint(0, 256, (*size[::-1], 4)).astype(np.uint8)
        Image.fromarray(pixels, "RGBA").convert(mode).save(folder / f"{i:02d}.png")
    return folder


def measured(real, fake, detector, names="fid12_full,kid12_full"):
    result = CliRunner().invoke(
        main, [f"--real={real}", f"--fake={fake}", f"--metrics={names}", f"--detector={detector}", "--verbose=0",
               "--device=cpu"]
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_the_distance_is_that_of_each_pictures_own_features(tmp_path, detector_file):
    real = write(tmp_path / "real", 0, [(48, 64), (33, 20), (16, 16)] * 4)
    fake = write(tmp_path / "fake", 50, [(32, 32)] * 12)
    detector = open_detector("file", torch.device("cpu"), file=str(detector_file))
    features = [
        torch.cat([detector(image[None]) for image in MixedImages(folder).images(range(12))]).double().numpy()
        for folder in (real, fake)
    ]
    means = [f.mean(axis=0) for f in features]
    covariances = [np.cov(f, rowvar=False, ddof=0) for f in features]
    roots = np.linalg.eigvals(covariances[0] @ covariances[1])
    expected = np.sum((means[0] - means[1]) ** 2) + np.trace(covariances[0] + covariances[1])
    expected -= 2 * np.sqrt(np.maximum(roots.real, 0)).sum()
    fid, _ = measured(real, fake, detector_file)
    assert next(iter(fid["results"].values())) == pytest.approx(expected, rel=1e-3)
    assert fid["computed_from"]["sizes"] == "any; each image by itself: none: the file's own"


def test_pictures_of_one_size_give_what_they_gave(tmp_path, detector_file):
    """As a data set or one by one."""
    folder = write(tmp_path / "a", 0, [(32, 32)] * 12)
    dataset, mixed = ImageDataset(folder), MixedImages(folder)
    assert all((a == b).all() for a, b in zip(dataset.images(range(12)), mixed.images(range(12)), strict=True))
    mirrored = MixedImages(folder, xflip=True)
    assert (mirrored.images([13])[0] == dataset.images([1])[0].flip(-1)).all()
    assert mirrored.content_hash() != mixed.content_hash() == mixed.whole(xflip=False).content_hash()
    [record] = measured(folder, folder, detector_file, "fid12_full")
    assert "sizes" not in record["computed_from"]


def test_grey_alpha_and_palettes_are_compared_with_colours(tmp_path, detector_file):
    real = write(tmp_path / "real", 0, [(32, 32)] * 12)
    for mode in ("L", "RGBA", "P", "LA"):
        records = measured(real, write(tmp_path / mode, 9, [(32, 32)] * 12, mode), detector_file, "fid12_full")
        assert np.isfinite(list(records[0]["results"].values())).all()


def test_metrics_of_pixels_need_one_size(tmp_path, detector_file):
    real = write(tmp_path / "real", 0, [(32, 32)] * 12)
    fake = write(tmp_path / "fake", 0, [(64, 64)] * 12)
    result = CliRunner().invoke(main, [f"--real={real}", f"--fake={fake}", "--metrics=swd12", "--device=cpu"])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "swd12 compares pixels, and the images of --real and --fake have not all one size" in result.stderr
