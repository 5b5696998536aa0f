"""The judge's ranks and their interval, and which photographs it is asked about."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.recognition import held_out, ranks, summary
from dnnlib import UserError
from training.dataset import ImageDataset
from training.networks import Generator, GeneratorConfig


def test_ranks_count_the_candidates_that_are_nearer_than_the_original():
    candidates = torch.tensor([[0.0], [1.0], [2.0], [5.0]])
    found = torch.tensor([[1.1], [1.9], [0.0]])
    assert ranks(found, candidates, torch.tensor([1, 1, 3])).tolist() == [0, 1, 3]


def test_the_summary_has_wilsons_interval():
    found = summary(torch.tensor([0, 0, 3, 7]), torch.tensor([20.0, 21.0, 19.0, 20.0]))
    assert found["recognised"] == 0.5
    assert found["interval"] == [0.15, 0.85]  # of 2 in 4, by hand
    assert found["among_first_5"] == 0.75
    assert found["psnr_db"] == 20


def test_only_photographs_that_the_network_has_not_seen_are_asked_for(tmp_path):
    for i in range(12):
        Image.fromarray(np.full((16, 16), 20 * i, np.uint8)).save(tmp_path / f"{i:02d}.png")

    def trained_on(count):
        subset = ImageDataset(tmp_path, max_size=count, xflip=True)
        known = {"path": None, "max_size": count, "random_seed": 0, "xflip": True}
        known["content_hash"] = subset.content_hash()
        generator = Generator(
            GeneratorConfig(img_resolution=16, img_channels=1, channel_base=64, channel_max=4, z_dim=4, w_dim=4)
        )
        return subset, SimpleNamespace(metadata={"training_set": known}, generator=generator)

    subset, snapshot = trained_on(8)
    unseen = held_out(snapshot, str(tmp_path), 4)[:, 0, 0, 0].tolist()
    assert sorted(unseen + subset.images(range(8))[:, 0, 0, 0].tolist()) == list(range(0, 240, 20))
    with pytest.raises(UserError, match=r"`candidates`: .* has 4 photographs"):
        held_out(snapshot, str(tmp_path), 5)
    with pytest.raises(UserError, match="was trained on all of"):
        held_out(trained_on(12)[1], str(tmp_path), 4)
