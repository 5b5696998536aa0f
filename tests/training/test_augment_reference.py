"""The augmentation with all random quantities at a percentile, against numbers of the published one."""

import json

import numpy as np
import pytest
import torch

from training.augment import AUGPIPES, AugmentPipe, geometry


def percentile_cases(fixtures_dir):
    numbers = np.load(fixtures_dir / "augment_percentiles.npz")
    cases = json.loads(bytes(numbers["cases_json"]))
    assert len(cases) == 64
    for case in cases:
        strengths = AUGPIPES.get(case["transform"], {case["transform"]: 1})
        images = torch.from_numpy(numbers[f"x{case['channels']}"])
        yield case, AugmentPipe(**strengths), images, torch.from_numpy(numbers[f"y{case['i']}"])


def test_all_percentiles(fixtures_dir):
    for case, pipe, images, expected in percentile_cases(fixtures_dir):
        found = pipe(images, debug_percentile=case["percentile"])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, msg=lambda text, case=case: f"{case}: {text}")


def test_the_path_of_fixed_shape_gives_the_same(fixtures_dir, monkeypatch):
    """As on a GPU, where the margin does not depend on the data."""
    for case, pipe, images, expected in percentile_cases(fixtures_dir):
        reach = pipe.geometry.reach(images.shape[-1])
        with monkeypatch.context() as patch:
            patch.setattr(
                geometry, "_warp_as_needed", lambda x, w, f, r=reach: geometry._warp_at_fixed_shape(x, w, f, r)
            )
            found = pipe(images, debug_percentile=case["percentile"])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, msg=lambda text, case=case: f"{case}: {text}")


@pytest.mark.parametrize("percentile", [0.2, 0.85])
def test_alpha_follows_the_geometry_and_not_the_colours(fixtures_dir, percentile):
    numbers = np.load(fixtures_dir / "augment_percentiles.npz")
    rgb, alpha = torch.from_numpy(numbers["x3"]), torch.from_numpy(numbers["x1"])
    rgba = torch.cat([rgb, alpha], dim=1)
    moved = AugmentPipe(**AUGPIPES["bg"])
    coloured = AugmentPipe(**AUGPIPES["bgc"])
    found = coloured(rgba, debug_percentile=percentile)
    torch.testing.assert_close(found[:, :3], coloured(rgb, debug_percentile=percentile), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[:, 3:], moved(alpha, debug_percentile=percentile), rtol=1e-4, atol=1e-5)
