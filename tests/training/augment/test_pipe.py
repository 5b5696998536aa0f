"""The augmentation pipeline as a whole, on each device: identity, probabilities, channels, derivatives, errors."""

import pytest
import torch

from dnnlib import UserError
from torch_utils.ops.grid_sample import gather_bilinear
from training.augment import AUGPIPES, AugmentPipe, geometry

TRANSFORMS = list(AUGPIPES["bgcfnc"])


def images(n=4, channels=3, size=16, seed=0, device="cpu"):
    x = torch.randn([n, channels, size, size], generator=torch.Generator().manual_seed(seed))
    return x.clamp(-1, 1).to(device)


def test_groups():
    assert list(AUGPIPES) == [
        "blit",
        "geom",
        "color",
        "filter",
        "noise",
        "cutout",
        "bg",
        "bgc",
        "bgcf",
        "bgcfn",
        "bgcfnc",
    ]
    assert list(AUGPIPES["bg"]) == ["xflip", "rotate90", "xint", "scale", "rotate", "aniso", "xfrac"]
    assert list(AUGPIPES["color"]) == ["brightness", "contrast", "lumaflip", "hue", "saturation"]
    assert list(AUGPIPES["bgcfnc"]) == [
        *AUGPIPES["bg"], *AUGPIPES["color"], *AUGPIPES["filter"], *AUGPIPES["noise"], *AUGPIPES["cutout"]
    ]  # fmt: skip
    assert set(AUGPIPES["bgcfnc"].values()) == {1}


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("fixed_shape", [False, True])
def test_nothing_changes_at_p_0(device, channels, fixed_shape, monkeypatch):
    if fixed_shape:
        monkeypatch.setattr(
            geometry, "warp_as_needed", lambda x, w, f: geometry.warp_at_fixed_shape(x, w, f, float("inf"))
        )
    pipe = AugmentPipe(**AUGPIPES["bgcfnc"]).to(device)
    pipe.p.zero_()
    x = images(channels=channels, device=device)
    torch.testing.assert_close(pipe(x), x, rtol=0, atol=3e-5)


@pytest.mark.parametrize("group", list(AUGPIPES))
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_shapes_and_finiteness(device, group, channels):
    torch.manual_seed(0)
    pipe = AugmentPipe(**AUGPIPES[group]).to(device)
    for size in (4, 8, 32):
        x = images(channels=channels, size=size, device=device)
        y = pipe(x)
        assert y.device == device
        assert y.shape == x.shape
        assert y.dtype == torch.float32
        assert y.isfinite().all()
        assert not torch.equal(y, x)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_share_p_of_the_images_is_changed(device, transform):
    """With strength s, s * p, less the draws that are the identity; each of the four bands is drawn on its own."""
    torch.manual_seed(1)
    strength, p, n = 0.8, 0.5, 1500
    pipe = AugmentPipe(**{transform: strength}).to(device)
    pipe.p.fill_(p)
    x = images(n=n, size=8, device=device)
    changed = ((pipe(x) - x).abs().amax(dim=[1, 2, 3]) > 1e-4).float().mean()
    if transform == "imgfilter":
        expected = 1 - (1 - strength * p) ** 4
    else:
        # A shift is U(-1, 1) pixels here, rounded: half of them are none, along each axis.
        visible = {"xflip": 1 / 2, "lumaflip": 1 / 2, "rotate90": 3 / 4, "xint": 3 / 4}
        expected = strength * p * visible.get(transform, 1)
    assert float(changed) == pytest.approx(expected, abs=4 * (expected * (1 - expected) / n) ** 0.5)


def test_images_are_changed_independently(device):
    torch.manual_seed(0)
    pipe = AugmentPipe(**AUGPIPES["bgcfnc"]).to(device)
    y = pipe(images(n=1, device=device).expand(8, -1, -1, -1))
    assert len({tuple(row.tolist()) for row in y.flatten(1)}) == 8


def test_the_seed_decides(device):
    pipe = AugmentPipe(**AUGPIPES["bgcfnc"]).to(device)
    pipe.p.fill_(0.5)
    results = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        results.append(pipe(images(device=device)))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize("group", ["bgc", "bgcfnc"])
def test_r1_through_the_augmentation(device, group):
    """The second derivative along a direction against a difference of first ones, for a fixed draw."""
    pipe = AugmentPipe(**AUGPIPES[group]).to(device)
    pipe.p.fill_(0.7)
    weight = torch.nn.Parameter(torch.randn(1, 3, 3, 3, generator=torch.Generator().manual_seed(2)).to(device))
    x = images(n=3, size=12, device=device)

    def penalty():
        torch.manual_seed(5)
        real = x.clone().requires_grad_()
        score = torch.nn.functional.conv2d(pipe(real), weight).square().sum()
        (gradient,) = torch.autograd.grad(score, real, create_graph=True)
        return gradient.square().sum([1, 2, 3]).mean()

    penalty().backward()
    assert weight.grad.isfinite().all()
    step = 1e-2 * weight.detach() + 1e-3
    slope = float((weight.grad * step).sum())
    values = []
    for sign in (1, -1):
        weight.data += sign * step
        values.append(float(penalty().detach()))
        weight.data -= sign * step
    assert (values[0] - values[1]) / 2 == pytest.approx(slope, rel=5e-3)


def test_gradient_and_second_gradient_reach_the_images(device):
    """gradgradcheck of the whole pipe as a function of the images (float32 inside, so by its linearity)."""
    pipe = AugmentPipe(**AUGPIPES["bgcfnc"]).to(device)
    pipe.p.fill_(0.6)

    def run(x):
        torch.manual_seed(11)
        return pipe(x)

    x, v, u = (images(seed=seed, device=device) for seed in (1, 2, 3))
    x, u = x.requires_grad_(), u.requires_grad_()
    # The pipe is affine in the images: y(x + v) - y(x) = J v, and u . J v = (J^T u) . v for every u.
    forward = (run(x + v) - run(x)).detach()
    (adjoint,) = torch.autograd.grad(run(x), x, u, create_graph=True)
    torch.testing.assert_close((adjoint * v).sum(), (forward * u).sum(), rtol=1e-4, atol=1e-3)
    # J^T u is linear in u, so its derivative in the direction v is J v again.
    (twice,) = torch.autograd.grad(adjoint, u, v)
    torch.testing.assert_close(twice, forward, rtol=1e-3, atol=1e-4)


def test_no_value_crosses_between_host_and_device(monkeypatch, no_host_copies):
    """On the meta device tensors have no values, so any read of one raises as well."""
    monkeypatch.setattr(geometry, "grid_sample", gather_bilinear)
    pipe = AugmentPipe(**AUGPIPES["bgcfnc"]).to("meta")
    for channels in (1, 4):
        x = images(channels=channels).to("meta").requires_grad_()
        with no_host_copies:
            y = pipe(x)
            (gradient,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
            gradient.square().sum().backward()
        assert y.is_meta
        assert x.grad.shape == x.shape


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_r1_can_be_captured_in_a_cuda_graph():
    pipe = AugmentPipe(**AUGPIPES["bgcfnc"]).cuda()
    x = images().cuda().requires_grad_()

    def penalty():
        (gradient,) = torch.autograd.grad(pipe(x).square().sum(), x, create_graph=True)
        return gradient.square().sum()

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        penalty()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = penalty()
    values = []
    for p in (0.0, 1.0, 1.0):
        pipe.p.fill_(p)
        graph.replay()
        values.append(float(result.detach()))
    assert values[0] == pytest.approx(4 * float(x.detach().square().sum()), rel=1e-4)
    assert len(set(values)) == 3


def test_p_is_a_scalar_buffer():
    pipe = AugmentPipe(**AUGPIPES["bgc"])
    assert pipe.p.shape == ()
    assert pipe.p.dtype == torch.float32
    assert "p" in pipe.state_dict()
    assert not list(pipe.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"flip": 1}, "unknown setting flip; known are xflip, "),
        ({"xflip": -1}, "xflip is -1; it must be 0 or more"),
        ({"imgfilter_bands": [1, 1]}, "imgfilter_bands has 2 entries"),
        ({"imgfilter_bands": [1, 1, -1, 1]}, "it must be 0 or more"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(UserError, match=message):
        AugmentPipe(**settings)


@pytest.mark.parametrize("x", [torch.zeros(2, 5, 8, 8), torch.zeros(3, 8, 8), torch.zeros(2, 3, 8, 8).double()])
def test_wrong_images_are_refused(x):
    with pytest.raises(ValueError, match="images must be"):
        AugmentPipe(xflip=1)(x)
