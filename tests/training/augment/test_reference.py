"""The augmentation on each device, all random quantities at a percentile, against numbers of the published one."""

import json

import numpy as np
import pytest
import torch

from training.augment import AUGPIPES, AugmentPipe, geometry

# On a GPU erfinv and exp2 differ in the last bits, and so do the places that are sampled.
ATOL = {"cpu": 1e-5, "cuda": 1e-4}


def percentile_cases(fixtures_dir, device):
    numbers = np.load(fixtures_dir / "augment_percentiles.npz")
    cases = json.loads(bytes(numbers["cases_json"]))
    assert len(cases) == 64
    for case in cases:
        strengths = AUGPIPES.get(case["transform"], {case["transform"]: 1})
        images, expected = (torch.from_numpy(numbers[name]) for name in (f"x{case['channels']}", f"y{case['i']}"))
        yield case, AugmentPipe(**strengths).to(device), images.to(device), expected


def check(found, expected, case):
    torch.testing.assert_close(
        found.cpu(), expected, rtol=1e-4, atol=ATOL[found.device.type], msg=lambda text: f"{case}: {text}"
    )


def test_all_percentiles(fixtures_dir, device):
    for case, pipe, images, expected in percentile_cases(fixtures_dir, device):
        check(pipe(images, debug_percentile=case["percentile"]), expected, case)


def test_the_path_of_fixed_shape_gives_the_same(fixtures_dir, monkeypatch):
    """As on a GPU, where the margin does not depend on the data."""
    for case, pipe, images, expected in percentile_cases(fixtures_dir, torch.device("cpu")):
        reach = pipe.geometry.reach(tuple(images.shape[2:]))
        with monkeypatch.context() as patch:
            patch.setattr(geometry, "warp_as_needed", lambda x, w, f, r=reach: geometry.warp_at_fixed_shape(x, w, f, r))
            check(pipe(images, debug_percentile=case["percentile"]), expected, case)


@pytest.mark.parametrize("percentile", [0.2, 0.85])
def test_alpha_follows_the_geometry_and_not_the_colours(fixtures_dir, device, percentile):
    numbers = np.load(fixtures_dir / "augment_percentiles.npz")
    rgb, alpha = (torch.from_numpy(numbers[name]).to(device) for name in ("x3", "x1"))
    rgba = torch.cat([rgb, alpha], dim=1)
    moved = AugmentPipe(**AUGPIPES["bg"]).to(device)
    coloured = AugmentPipe(**AUGPIPES["bgc"]).to(device)
    found = coloured(rgba, debug_percentile=percentile)
    torch.testing.assert_close(found[:, :3], coloured(rgb, debug_percentile=percentile), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[:, 3:], moved(alpha, debug_percentile=percentile), rtol=1e-4, atol=1e-5)
