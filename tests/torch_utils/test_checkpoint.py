"""Checkpoint files: what is read is what was written, or the file is refused."""

import os
import pickle
from pathlib import Path

import pytest
import torch

from dnnlib import UserError
from torch_utils.checkpoint import Checkpoints, DamagedCheckpoint, list_checkpoints, pack, unpack


class Box:
    """Something with state."""

    def __init__(self, value):
        self.value = value

    def state_dict(self):
        return self.value

    def load_state_dict(self, state):
        self.value = state


STATE = {
    "weights": {"a.b": torch.arange(6, dtype=torch.float32).reshape(2, 3), "half": torch.ones(3, dtype=torch.bfloat16)},
    "counters": {"n": 3, "x": 0.1, "name": "a", "none": None, "flag": True, "list": [1, {"deep": torch.zeros([])}]},
    "empty": {"tensor": torch.zeros(0, 4), "dict": {}, "list": []},
    "numbered": {0: {"exp_avg": torch.ones(2)}, 1: {}},
}


def _same(a, b):
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b and type(a) is type(b)


def _save(folder: Path, *values: int, **options) -> tuple[Checkpoints, list[str]]:
    """Checkpoints after 100, 200, ... images that hold `values`."""
    log: list[str] = []
    box = Box(None)
    checkpoints = Checkpoints(folder, {"box": box}, log=log.append, **options)
    for number, value in enumerate(values, 1):
        box.value = {"n": value, "t": torch.full([1000], float(value))}
        checkpoints.save(100 * number)
    return checkpoints, log


def _load(folder: Path) -> tuple[int | None, list[str]]:
    log: list[str] = []
    box = Box(None)
    found = Checkpoints(folder, {"box": box}, log=log.append).load_latest()
    return (box.value["n"] if found else None), log


def test_round_trip(tmp_path):
    path = tmp_path / "checkpoint-000000001.safetensors"
    path.write_bytes(pack(STATE))
    assert _same(unpack(path), STATE)


def test_what_was_read_does_not_depend_on_the_file_any_more(tmp_path):
    path = tmp_path / "checkpoint-000000001.safetensors"
    path.write_bytes(pack({"t": torch.ones(100_000)}))
    tensor = unpack(path)["t"]
    with open(path, "r+b") as stream:
        stream.write(bytes(path.stat().st_size))
    assert torch.equal(tensor, torch.ones(100_000))


def test_the_newest_is_taken_and_the_oldest_removed(tmp_path):
    _save(tmp_path, 1, 2, 3)
    assert [path.name for path in list_checkpoints(tmp_path)] == [
        "checkpoint-000000300.safetensors",
        "checkpoint-000000200.safetensors",
    ]
    assert _load(tmp_path) == (3, [])


def test_a_broken_state_pushes_nothing_out(tmp_path):
    checkpoints, _ = _save(tmp_path, 1, 2)
    checkpoints.save(300, prune=False)
    assert len(list_checkpoints(tmp_path)) == 3


def test_no_checkpoint_at_all(tmp_path):
    assert _load(tmp_path) == (None, [])


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _flip_in_tensor(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(data)


def _flip_in_header(path: Path) -> None:
    """Another counter, the same length: still a valid safetensors file."""
    data = path.read_bytes()
    changed = data.replace(rb"\"n\": 2", rb"\"n\": 7")
    assert changed != data
    path.write_bytes(changed)


def _another_format(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 not a checkpoint")


@pytest.mark.parametrize("damage", [_truncate, _empty, _flip_in_tensor, _flip_in_header, _another_format])
def test_a_damaged_newest_one_is_reported_and_the_one_before_is_used(tmp_path, damage):
    _save(tmp_path, 1, 2)
    newest = list_checkpoints(tmp_path)[0]
    damage(newest)
    value, log = _load(tmp_path)
    assert value == 1
    assert len(log) == 1
    assert newest.name in log[0]
    assert "trying the one before" in log[0]


def test_a_damaged_one_does_not_count_among_those_that_stay(tmp_path):
    checkpoints, _ = _save(tmp_path, 1, 2)
    _flip_in_tensor(list_checkpoints(tmp_path)[0])
    assert _load(tmp_path)[0] == 1
    checkpoints.save(150)
    assert [path.name for path in list_checkpoints(tmp_path)] == [
        "checkpoint-000000150.safetensors",
        "checkpoint-000000100.safetensors",
    ]
    _flip_in_tensor(list_checkpoints(tmp_path)[0])
    assert _load(tmp_path)[0] == 1


def test_only_damaged_ones_are_an_error_not_a_fresh_start(tmp_path):
    _save(tmp_path, 1, 2)
    for path in list_checkpoints(tmp_path):
        _flip_in_tensor(path)
    with pytest.raises(UserError, match=r"every checkpoint .* is damaged"):
        _load(tmp_path)


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("write", [lambda value, path: path.write_bytes(pickle.dumps(value)), torch.save])
def test_a_pickle_in_its_place_is_refused_and_not_run(tmp_path, write):
    path = tmp_path / "checkpoint-000000001.safetensors"
    write(Trap(tmp_path / "executed"), path)
    with pytest.raises(DamagedCheckpoint, match="is not a whole checkpoint"):
        unpack(path)
    with pytest.raises(UserError, match="every checkpoint") as caught:
        _load(tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fills_up_leaves_the_one_before(tmp_path, monkeypatch, call):
    checkpoints, _ = _save(tmp_path, 1)

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(UserError, match=r"checkpoint-000000200.*No space left on device"):
            checkpoints.save(200)
    assert _load(tmp_path) == (1, [])
    assert len(list(tmp_path.iterdir())) == 1
    checkpoints.save(200)
    assert len(list_checkpoints(tmp_path)) == 2


def test_a_state_of_another_version_is_refused(tmp_path):
    _save(tmp_path, 1)
    with pytest.raises(UserError, match="another version"):
        Checkpoints(tmp_path, {"box": Box(None), "new": Box(None)}).load_latest()


def test_what_has_no_state_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'number'"):
        Checkpoints(tmp_path, {"number": 3})
    with pytest.raises(TypeError, match=r"a.set cannot|a.set: a set cannot"):
        pack({"a": {"set": {1}}})
    with pytest.raises(ValueError, match=r"not JSON compliant|Out of range"):
        pack({"a": float("nan")})


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_no_checkpoint(tmp_path, make):
    """Nothing waits for it, and nothing is done to it."""
    make(tmp_path / "checkpoint-000000001.safetensors")
    assert _load(tmp_path) == (None, [])
    _save(tmp_path, 5, 6, keep=1)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-000000200.safetensors"]
    assert os.path.lexists(tmp_path / "checkpoint-000000001.safetensors")
