"""`--resume`: weights of another run, with every tensor that does not fit named."""

import os
import pickle

import pytest
import torch

from dnnlib import UserError
from torch_utils.checkpoint import list_checkpoints
from training.networks import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from training.snapshot import save_snapshot
from training.snapshot.resume import copy_weights

SHARED = {"img_channels": 1, "channel_base": 64, "channel_max": 8}


def _networks(seed: int, resolution: int = 16, base_size=(4, 4), mapping_layers: int = 2, **D_options):
    torch.manual_seed(seed)
    sizes = {**SHARED, "img_resolution": resolution, "base_size": base_size}
    G, G_ema = (Generator(GeneratorConfig(**sizes, z_dim=8, w_dim=8, mapping_layers=mapping_layers)) for _ in range(2))
    D = Discriminator(DiscriminatorConfig(**sizes, mbstd_group_size=2, **D_options))
    return {"G": G, "D": D, "G_ema": G_ema}


@pytest.fixture
def snapshot(tmp_path):
    networks = _networks(seed=1)
    path = tmp_path / "snapshot.safetensors"
    save_snapshot(path, **networks, metadata={})
    return path, networks


def test_every_weight_and_buffer_is_copied_in_place(snapshot):
    path, theirs = snapshot
    ours = _networks(seed=2)
    pointers = [p.data_ptr() for p in ours["G"].parameters()]
    log: list[str] = []
    copy_weights(str(path), ours, partial=False, log=log.append)
    for name, network in ours.items():
        for key, value in network.state_dict().items():
            assert torch.equal(value, theirs[name].state_dict()[key]), f"{name}.{key}"
    assert [p.data_ptr() for p in ours["G"].parameters()] == pointers
    assert log == [f"resumed {sum(len(n.state_dict()) for n in ours.values())} tensors from {path}"]


@pytest.mark.parametrize(
    ("options", "listed"),
    [
        ({"mapping_layers": 3}, ["G.mapping.fc2.weight: missing, stays as initialised", "G_ema.mapping.fc2.bias"]),
        ({"mapping_layers": 1}, ["G.mapping.fc1.weight: extra, not used"]),
        ({"mbstd_num_channels": 2}, ["D.b4.conv.weight: [8, 9, 3, 3] in the file, [8, 10, 3, 3] here"]),
    ],
)  # fmt: skip
def test_every_tensor_that_does_not_fit_is_listed(snapshot, options, listed):
    path, _ = snapshot
    ours = _networks(seed=2, **options)
    before = {key: value.clone() for key, value in ours["G"].state_dict().items()}
    log: list[str] = []
    with pytest.raises(UserError, match=r"`resume`=.* does not fit: \d+ tensors .*`resume_partial`") as caught:
        copy_weights(str(path), ours, partial=False, log=log.append)
    assert "\n" not in str(caught.value)
    for text in listed:
        assert any(line.strip().startswith(text) for line in log), (text, log)
    assert str(len(log)) in str(caught.value)
    assert all(torch.equal(before[key], value) for key, value in ours["G"].state_dict().items())


@pytest.mark.parametrize(
    ("options", "made"), [({"resolution": 32}, "32 x 32"), ({"base_size": (4, 6)}, "24 x 16")], ids=["size", "shape"]
)
def test_images_of_another_size_are_one_line(snapshot, options, made):
    path, theirs = snapshot
    log: list[str] = []
    with pytest.raises(UserError, match=f"for images of 16 x 16, the data has {made}; .*`resume_partial`"):
        copy_weights(str(path), _networks(seed=2, **options), partial=False, log=log.append)
    assert log == []
    ours = _networks(seed=2, **options)
    copy_weights(str(path), ours, partial=True, log=log.append)
    assert torch.equal(ours["G"].synthesis.b8.conv0.weight, theirs["G"].synthesis.b8.conv0.weight)


def test_partial_takes_what_fits(snapshot):
    path, theirs = snapshot
    ours = _networks(seed=2, mbstd_num_channels=2)
    before = ours["D"].b4.conv.weight.clone()
    log: list[str] = []
    copy_weights(str(path), ours, partial=True, log=log.append)
    assert torch.equal(ours["D"].b4.conv.weight, before)
    assert torch.equal(ours["D"].b8.conv0.weight, theirs["D"].b8.conv0.weight)
    assert any("D.b4.conv.weight" in line for line in log[:-1])
    assert log[-1].startswith("resumed ")


def test_a_file_without_the_discriminator(tmp_path):
    path = tmp_path / "generator.safetensors"
    networks = _networks(seed=1)
    save_snapshot(path, G=None, D=None, G_ema=networks["G_ema"], metadata={})
    with pytest.raises(UserError, match=r"first: G: not in the file"):
        copy_weights(str(path), _networks(seed=2), partial=False, log=lambda line: None)


def test_a_run_begins_with_the_weights_and_counts_from_zero(tiny):
    first = tiny.train("first")
    snapshot = sorted((tiny.folder / "first").glob("network-snapshot-*"))[-1]
    second = tiny.open("second", resume=str(snapshot), seed=5)
    assert not second.continued
    assert second.progress.nimg == 0
    for name in ("G", "D", "G_ema"):
        ours, theirs = getattr(second, name).state_dict(), getattr(first, name).state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name
    assert second.G_opt.state_dict()["adam"] == {}
    # Continued, it takes its checkpoint, not the snapshot again.
    second.train(type("AfterOne", (), {"is_set": True, "reason": ""})())
    third = tiny.open("second", resume=str(snapshot), seed=5)
    assert third.continued
    assert third.progress.nimg == 8


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("name", ["network.pkl", "network-snapshot-000000.safetensors"])
def test_a_pickle_that_would_run_code_is_refused_with_one_line(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(pickle.dumps({"G": Trap(str(tmp_path / "executed"))}))
    with pytest.raises(UserError) as caught:
        copy_weights(str(path), _networks(seed=2), partial=True, log=lambda line: None)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()
    assert list_checkpoints(tmp_path) == []
