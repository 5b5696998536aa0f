"""Each transform of the augmentation, on each device, against an independent, plainer way to compute it."""

import math

import numpy as np
import pytest
import scipy.ndimage
import torch

from torch_utils.ops.upfirdn2d import setup_filter
from training.augment import AUGPIPES, AugmentPipe, geometry
from training.augment.draws import Draws
from training.augment.filtering import EXPECTED_POWER, SYM2, FilterSettings, band_matrices, filter_bank, sample_gains
from training.augment.geometry import SYM6, GeometrySettings, sample_warp, warp_images


def smooth_images(n=4, channels=3, size=32, seed=0):
    """Images without fine detail, for which all good interpolations agree."""
    coarse = torch.randn([n, channels, 5, 5], generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=[size, size], mode="bicubic", align_corners=True)


def noise_images(n=4, channels=3, size=16, seed=0):
    return torch.randn([n, channels, size, size], generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def augment(device):
    """augment(x, percentile, **strengths): the augmented images, on the processor."""

    def run(x, percentile=None, **settings):
        return AugmentPipe(**settings).to(device)(x.to(device), debug_percentile=percentile).cpu()

    return run


def inner(x, margin=8):
    return x[..., margin:-margin, margin:-margin]


# Geometry


def assert_alike(found, expected, part=0.03):
    """The resampling filter is only nearly symmetric: a mirrored or turned image is exact but for its fine detail."""
    assert float((found - expected).square().mean().sqrt()) < part * float(expected.std())


def test_xflip(augment):
    x = smooth_images()
    assert_alike(augment(x, 0.9, xflip=1), x.flip(3))


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_rotate90(augment, turns):
    x = smooth_images()
    found = augment(x, turns / 4 + 0.1, rotate90=1)
    assert_alike(found, torch.rot90(x, turns, dims=(2, 3)))


@pytest.mark.parametrize("percentile", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_integer_translation_mirrors_at_the_rim(augment, percentile):
    size = 16
    x = noise_images(size=size)
    shift = round((2 * percentile - 1) * 0.125 * size)
    index = (torch.arange(size) - shift).abs()
    index = torch.where(index < size, index, 2 * (size - 1) - index)
    found = augment(x, percentile, xint=1)
    torch.testing.assert_close(found, x[:, :, index][:, :, :, index], rtol=0, atol=3e-5)


def test_integer_translation_takes_whole_pixels(augment):
    torch.manual_seed(0)
    x = noise_images(n=64, channels=1)
    for moved, image in zip(augment(x, xint=1), x, strict=True):
        candidates = [image.roll([dy, dx], dims=[1, 2]) for dy in range(-2, 3) for dx in range(-2, 3)]
        assert min(float(inner(moved - c, 2).abs().max()) for c in candidates) < 3e-5


def test_rotation_by_a_right_angle(augment):
    x = smooth_images()
    found = augment(x, 0.75, rotate=1)
    assert_alike(found, torch.rot90(x, 1, dims=(2, 3)))


@pytest.mark.parametrize(
    ("settings", "matrix", "shift"),
    [
        ({"rotate": 1, "rotate_max": 1 / 6}, "rotation", 0),
        ({"scale": 1}, "scale", 0),
        ({"aniso": 1}, "aniso", 0),
        ({"xfrac": 1, "xfrac_std": 0.05}, "identity", 1),
    ],
)
def test_general_warps_against_spline_interpolation(augment, settings, matrix, shift):
    """scipy's cubic splines sample the same places; (row, column) there, (x, y) here."""
    percentile, size = 0.8, 32
    quantile = float(torch.erfinv(torch.tensor(2 * percentile - 1)))
    angle = (2 * percentile - 1) * math.pi / 6
    factor = 2 ** (0.2 * quantile)
    inverse = {
        "rotation": np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]),
        "scale": np.eye(2) / factor,
        "aniso": np.diag([factor, 1 / factor]),
        "identity": np.eye(2),
    }[matrix]
    moved = np.full(2, shift * 0.05 * quantile * size)
    x = smooth_images(n=1, channels=1, size=size)
    centre = np.full(2, (size - 1) / 2)
    expected = scipy.ndimage.affine_transform(
        x[0, 0].double().numpy(), inverse, centre - inverse @ (centre + moved), order=3, mode="mirror"
    )
    found = augment(x, percentile, **settings)[0, 0]
    assert float(inner(found - x[0, 0]).abs().max()) > 0.1
    torch.testing.assert_close(inner(found), inner(torch.from_numpy(expected).float()), rtol=0, atol=0.02)


def test_distributions_of_the_geometry(device):
    torch.manual_seed(0)
    n, one = 20_000, torch.ones([], device=device)
    draws = Draws(n, device, one)
    scale = 1 / sample_warp(GeometrySettings(scale=1), draws, (32, 32))[:, 0, 0]
    assert float(scale.log2().std()) == pytest.approx(0.2, rel=0.03)
    aniso = sample_warp(GeometrySettings(aniso=1), draws, (32, 32))
    torch.testing.assert_close(aniso[:, 0, 0] * aniso[:, 1, 1], torch.ones(n, device=device))
    assert float(aniso[:, 0, 0].log2().std()) == pytest.approx(0.2, rel=0.03)
    shift = sample_warp(GeometrySettings(xfrac=1), draws, (32, 32))[:, :2, 2]
    torch.testing.assert_close(shift.std(dim=0), torch.full([2], 4.0, device=device), rtol=0.03, atol=0)
    whole = sample_warp(GeometrySettings(xint=1), draws, (32, 32))[:, :2, 2]
    assert set(whole.unique().tolist()) == set(range(-4, 5))


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0, 1.5])
def test_a_share_p_is_rotated_at_least_once(device, p):
    torch.manual_seed(0)
    draws = Draws(20_000, device, torch.tensor(p, device=device))
    warp = sample_warp(GeometrySettings(rotate=1), draws, (32, 32)).cpu()
    rotated = (warp != torch.eye(3)).flatten(1).any(dim=1).float().mean()
    assert float(rotated) == pytest.approx(min(p, 1), abs=0.02)


def test_sym6_is_an_orthonormal_wavelet_with_six_vanishing_moments():
    low = np.array(SYM6)
    assert low.sum() == pytest.approx(math.sqrt(2), abs=1e-9)
    for lag in range(6):
        overlap = low[: 12 - 2 * lag] @ low[2 * lag :]
        assert overlap == pytest.approx(float(lag == 0), abs=1e-9)
    high = low[::-1] * (-1.0) ** np.arange(12)
    for moment in range(6):
        assert high @ (np.arange(12.0) - 5.5) ** moment == pytest.approx(0, abs=1e-5)


# Colour


@pytest.mark.parametrize("percentile", [0.1, 0.5, 0.9])
def test_brightness_adds_and_contrast_multiplies(augment, percentile):
    x = noise_images()
    normal = float(torch.erfinv(torch.tensor(2 * percentile - 1)))
    torch.testing.assert_close(augment(x, percentile, brightness=1), x + 0.2 * normal)
    torch.testing.assert_close(augment(x, percentile, contrast=1), x * 2 ** (0.5 * normal))


def test_lumaflip_mirrors_the_luma_and_keeps_the_chroma(augment):
    x = noise_images()
    found = augment(x, 0.9, lumaflip=1)
    torch.testing.assert_close(found.mean(dim=1), -x.mean(dim=1))
    torch.testing.assert_close(found - found.mean(dim=1, keepdim=True), x - x.mean(dim=1, keepdim=True))
    grey = noise_images(channels=1)
    torch.testing.assert_close(augment(grey, 0.9, lumaflip=1), -grey)


def test_hue_rotates_the_chroma_about_the_grey_axis(augment):
    x = noise_images()
    third = augment(x, 0.5 + 1 / 3, hue=1)  # by 120 degrees: red becomes green
    torch.testing.assert_close(third, x.roll(1, dims=1), rtol=1e-4, atol=1e-5)
    some = augment(x, 0.37, hue=1)
    torch.testing.assert_close(some.mean(dim=1), x.mean(dim=1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(some.norm(dim=1), x.norm(dim=1), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(some, x)


def test_saturation_scales_the_chroma(augment):
    x = noise_images()
    luma = x.mean(dim=1, keepdim=True)
    normal = float(torch.erfinv(torch.tensor(0.4)))
    torch.testing.assert_close(augment(x, 0.7, saturation=1), luma + (x - luma) * 2**normal)


@pytest.mark.parametrize("channels", [1, 2])
def test_grey_images_have_no_hue_and_saturation(augment, channels):
    torch.manual_seed(0)
    x = noise_images(channels=channels)
    torch.testing.assert_close(augment(x, hue=1, saturation=1), x)


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_keeps_its_values(augment, channels):
    torch.manual_seed(0)
    x = noise_images(channels=channels)
    y = augment(x, brightness=1, contrast=1, lumaflip=1, hue=1, saturation=1)
    assert torch.equal(y[:, -1], x[:, -1])
    assert not torch.allclose(y[:, 0], x[:, 0])


# Filter


def test_bands_split_the_spectrum_into_octaves():
    bands = filter_bank()
    assert bands.shape == (4, 43)
    torch.testing.assert_close(bands, bands.flip(1), rtol=0, atol=1e-12)
    impulse = torch.zeros(43, dtype=torch.float64)
    impulse[21] = 1
    torch.testing.assert_close(bands.sum(dim=0), impulse, rtol=0, atol=1e-11)
    response = torch.fft.rfft(torch.nn.functional.pad(bands, [0, 4096 - 43])).abs()
    frequencies = torch.linspace(0, 0.5, 2049, dtype=torch.float64)
    centroids = (response.square() @ frequencies) / response.square().sum(dim=1)
    assert response[0, 0] == pytest.approx(1)
    assert (response[1:, 0] < 1e-9).all()
    for band, low in ((1, 1 / 16), (2, 1 / 8), (3, 1 / 4)):
        assert low < centroids[band] < 2 * low
    assert centroids[0] < 1 / 16


def test_sym2_is_the_daubechies_wavelet():
    root = math.sqrt(3)
    closed_form = np.array([1 - root, 3 - root, 3 + root, 1 + root]) / (4 * math.sqrt(2))
    np.testing.assert_allclose(SYM2, closed_form, atol=1e-12)


@pytest.mark.parametrize("size", [4, 16, 64])
def test_filtering_mirrors_at_the_rims(device, size):
    line = torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    bands = filter_bank()
    found = torch.einsum("i,bio->bo", line.to(device), band_matrices(bands.to(device), size)).cpu()
    for band, result in zip(bands, found, strict=True):
        expected = scipy.ndimage.correlate1d(line.numpy(), band.numpy(), mode="mirror")
        np.testing.assert_allclose(result.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("only", [0, 1, 2, 3])
def test_one_band_is_amplified_and_the_expected_power_kept(device, only):
    bands = [float(i == only) for i in range(4)]
    settings = FilterSettings(imgfilter=1, imgfilter_bands=bands)
    draws = Draws(1, device, torch.ones([], device=device), percentile=0.8)
    gains = sample_gains(settings, draws)[0].cpu()
    power = torch.tensor(EXPECTED_POWER)
    assert float((power * gains.square()).sum()) == pytest.approx(1, abs=1e-6)
    others = [i for i in range(4) if i != only]
    factor = 2 ** float(torch.erfinv(torch.tensor(0.6)))
    torch.testing.assert_close(gains[only] / gains[others], torch.full([3], factor))


def test_images_that_are_not_filtered_stay_bit_for_bit(device):
    torch.manual_seed(0)
    x, pipe = noise_images(n=200, channels=1, size=8).to(device), AugmentPipe(imgfilter=1).to(device)
    pipe.p.fill_(0.1)
    same = (pipe(x) == x).flatten(1).all(dim=1).float().mean()
    assert float(same) == pytest.approx(0.9**4, abs=0.12)


def test_filter_acts_along_both_axes(augment):
    x = noise_images(n=1, channels=2, size=64)
    settings = {"imgfilter": 1, "imgfilter_bands": [0, 0, 1, 0]}
    found = augment(x, 0.9, **settings)
    factor = 2 ** float(torch.erfinv(torch.tensor(0.8)))
    gains = torch.tensor([1, 1, factor, 1], dtype=torch.float64)
    gains = gains / (torch.tensor(EXPECTED_POWER, dtype=torch.float64) * gains.square()).sum().sqrt()
    taps = (gains @ filter_bank()).numpy()
    expected = scipy.ndimage.correlate1d(x[0].double().numpy(), taps, axis=1, mode="mirror")
    expected = scipy.ndimage.correlate1d(expected, taps, axis=2, mode="mirror")
    torch.testing.assert_close(found[0], torch.from_numpy(expected).float(), rtol=1e-4, atol=1e-5)


# Corruption


def test_noise_is_white_with_a_half_normal_deviation(augment):
    torch.manual_seed(0)
    x = torch.zeros(3000, 1, 16, 16)
    deviations = augment(x, noise=1).flatten(1).std(dim=1)
    assert float(deviations.mean()) == pytest.approx(0.1 * math.sqrt(2 / math.pi), rel=0.05)
    assert float(deviations.square().mean().sqrt()) == pytest.approx(0.1, rel=0.05)
    fixed = augment(x, 0.5, noise=1)
    assert float(fixed.std()) == pytest.approx(0.1 * float(torch.erfinv(torch.tensor(0.5))), rel=0.01)
    assert float(fixed.mean()) == pytest.approx(0, abs=1e-3)


def test_cutout_takes_a_quarter_of_the_image_where_it_fits(augment):
    x = torch.ones(1, 3, 16, 16)
    y = augment(x, 0.5, cutout=1)
    assert float(y.sum()) == 3 * 256 * 3 / 4
    assert not y[:, :, 4:12, 4:12].any()
    corner = augment(x, 0.0, cutout=1)
    assert not corner[:, :, :4, :4].any()
    assert float(corner.sum()) == 3 * (256 - 16)


def test_cutout_is_one_rectangle_anywhere(augment):
    torch.manual_seed(0)
    y = augment(torch.ones(2000, 1, 16, 16), cutout=1)[:, 0]
    gone = y == 0
    rows, columns = gone.any(dim=2).sum(dim=1), gone.any(dim=1).sum(dim=1)
    assert torch.equal(gone.sum(dim=[1, 2]), rows * columns)
    assert rows.max() == columns.max() == 8
    # Uniform centre: the middle pixel is covered with probability 1/2 along each axis.
    assert float(gone[:, 8, 8].float().mean()) == pytest.approx(0.25, abs=0.04)


# Images that are not square


@pytest.mark.parametrize("shape", [(32, 48), (48, 24)])
def test_flips_and_half_turns_of_oblong_images(augment, shape):
    x = smooth_images(size=48)[:, :, : shape[0], : shape[1]]
    assert_alike(augment(x, 0.9, xflip=1), x.flip(3))
    assert_alike(augment(x, 0.6, rotate90=1), x.flip(2, 3))


@pytest.mark.parametrize("shape", [(32, 48), (48, 32)])
@pytest.mark.parametrize("settings", [{"rotate": 1}, {"scale": 1}, {"aniso": 1}, {"rotate90": 1}])
def test_the_plane_is_the_same_whatever_is_cut_out_of_it(augment, shape, settings):
    """Around the centre, an oblong cut moves as the square that it was cut from."""
    whole = smooth_images(size=48)
    top, left = (48 - shape[0]) // 2, (48 - shape[1]) // 2
    cut = whole[:, :, top : top + shape[0], left : left + shape[1]]
    expected = augment(whole, 0.4, **settings)[:, :, top : top + shape[0], left : left + shape[1]]
    assert_alike(inner(augment(cut, 0.4, **settings), 12), inner(expected, 12))


def test_shifts_are_in_parts_of_each_side(device):
    warp = sample_warp(GeometrySettings(xint=1), Draws(1, device, torch.ones([]), 1.0), (40, 80))
    assert warp[0, :2, 2].tolist() == [-10, -5]


@pytest.mark.parametrize("shape", [(32, 48), (48, 32), (20, 28)])
def test_both_ways_to_warp_agree_on_oblong_images(shape):
    x = smooth_images(n=16, size=48)[:, :, : shape[0], : shape[1]]
    settings = GeometrySettings(rotate90=1, xint=1, rotate=1)
    torch.manual_seed(0)
    warp = sample_warp(settings, Draws(16, torch.device("cpu"), torch.ones([])), shape)
    taps = setup_filter(SYM6)
    needed = warp_images(x, warp, taps)
    fixed = geometry.warp_at_fixed_shape(x, warp, taps, settings.reach(shape))
    assert ((needed - fixed).abs() < 1e-3).float().mean() > 0.98


def test_every_group_keeps_the_shape_of_oblong_images(augment):
    x = noise_images()[:, :, :, :12].requires_grad_(False)
    assert augment(x, **AUGPIPES["bgcfnc"]).shape == x.shape
