import numpy as np
import pytest
import torch
from PIL import Image

from comparison.findings import projections
from comparison.runs.collect import Run
from comparison.runs.design import Design
from comparison.runs.losses import parse_losses
from dnnlib import UserError
from projection.distance import load_distance
from training.dataset import ImageDataset
from training.networks import Generator, GeneratorConfig
from training.snapshot import save_snapshot


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Twelve grey pictures of 16 x 16 in a folder, in two classes."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(rng.integers(0, 255, (16, 16), np.uint8)).save(folder / f"{i:02d}.png")
    labels = ", ".join(f'["{i:02d}.png", {i % 2}]' for i in range(12))
    (folder / "dataset.json").write_text(f'{{"labels": [{labels}]}}')
    return folder


def design(**changes):
    values = {"losses": tuple(parse_losses("ce,rlo:k=2")), "seeds": (0,), "kimg": 1.0}
    return Design(**{**values, **changes})


def run(folder, data, snapshots=None, **options):
    settings = {"path": str(data), "resolution": 16, "use_labels": False, "random_seed": 3, **options}
    return Run(folder, options={"training_set_kwargs": settings}, finished=True, snapshots=snapshots or {})


def test_targets_come_from_outside_the_subset(tmp_path, data):
    chosen = projections.choose_targets(design(subset=8), run(tmp_path, data), 10)
    assert len(chosen) == 4  # all that the subset left
    subset = ImageDataset(data, max_size=8, random_seed=3)
    trained_on = {subset.image(i).tobytes() for i in range(8)}
    assert not trained_on & {target.image.numpy().tobytes() for target in chosen}
    assert all(target.name.startswith("held-out image") for target in chosen)
    again = projections.choose_targets(design(subset=8), run(tmp_path, data), 2)
    assert [target.name for target in again] == [target.name for target in chosen[:2]]


def test_without_a_subset_they_are_called_training_images(tmp_path, data):
    (target,) = projections.choose_targets(design(), run(tmp_path, data), 1)
    assert target.name.startswith("training image")
    assert target.label is None


def test_labels_come_along(tmp_path, data):
    targets = projections.choose_targets(design(), run(tmp_path, data, use_labels=True), 3)
    assert all(target.label.sum() == 1 and target.label.shape == (2,) for target in targets)
    with pytest.raises(UserError, match=r"^`targets`: these networks need labels"):
        projections.load_targets(["x.png"], run(tmp_path, data, use_labels=True))


def test_first_and_last_snapshot_once(tmp_path, data, monkeypatch):
    torch.manual_seed(0)
    runs = {}
    for key in ("ce", "rlo-k2-bounded"):
        snapshots = {}
        for nimg in (0, 1000, 2000):
            sizes = {"channel_base": 64, "channel_max": 4, "z_dim": 4, "w_dim": 4, "mapping_layers": 1}
            G = Generator(GeneratorConfig(img_resolution=16, img_channels=1, **sizes))
            snapshots[nimg] = tmp_path / f"{key}-{nimg}.safetensors"
            save_snapshot(snapshots[nimg], G=None, D=None, G_ema=G, metadata={})
        runs[key] = {0: run(tmp_path / f"{key}-seed0", data, snapshots)}
    targets = projections.choose_targets(design(), runs["ce"][0], 2)
    arguments = (tmp_path, runs, targets, load_distance("pixel"), 3, torch.device("cpu"), lambda text: None)
    table = projections.project_all(*arguments)
    assert [entry.target for entry in table] == [target.name for target in targets]
    for entry in table:
        assert set(entry.losses) == set(runs)
        for found in entry.losses.values():
            assert (found["first"].nimg, found["last"].nimg) == (0, 2000)
            assert all((tmp_path / found[which].picture).is_file() for which in ("first", "last"))
    monkeypatch.setattr(projections, "project", lambda *a, **k: pytest.fail("projected again"))
    assert projections.project_all(*arguments) == table
    monkeypatch.undo()
    changed = projections.project_all(*arguments[:4], 4, *arguments[5:])  # other steps: not taken from before
    assert changed != table


def test_only_seeds_that_every_loss_finished_count(tmp_path, data):
    whole = run(tmp_path, data, {0: tmp_path, 1000: tmp_path})
    assert projections.first_common_seed({"ce": {0: Run(tmp_path), 1: whole}, "rlo": {0: whole, 1: whole}}) == 1
    assert projections.first_common_seed({"ce": {0: Run(tmp_path)}, "rlo": {0: whole}}) is None


def test_why_there_is_nothing_to_project(tmp_path, data):
    whole, short = run(tmp_path / "a", data, {0: tmp_path, 1000: tmp_path}), run(tmp_path / "b", data, {0: tmp_path})
    assert "every loss has finished, and c has not" in projections.why_no_seed({"ce": {0: Run(tmp_path / "c")}})
    assert "b left 1" in projections.why_no_seed({"ce": {0: whole}, "rlo": {0: short}})


def test_mistakes_name_the_argument(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere.png"):
        with pytest.raises(UserError, match=f"^`targets`={path}: "):
            projections.check_targets([str(path)])
    with pytest.raises(UserError, match=r"^`distance`=vgg is neither auto, lpips, lite0, pixel nor"):
        projections.check_distance("vgg")
    projections.check_targets([])
    projections.check_distance("auto")
    projections.check_distance("pixel")
