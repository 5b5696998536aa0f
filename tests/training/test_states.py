"""States of a checkpoint that somebody has made: its checksum is right, and what it holds is not."""

import copy

import pytest
import torch

from dnnlib import UserError
from torch_utils.checkpoint import Checkpoints, list_checkpoints, pack, unpack
from torch_utils.statistics import Statistics
from training.augment.ada import AdaController
from training.config.schema import AdamOptions
from training.health import HealthMonitor
from training.parameters import FlatParameters, LazyAdam
from training.progress import Progress

ODD = [None, "x", [], {}, True, -1, 1.5, 10**400, [[1]], {"a": 1}, torch.zeros(3, 3), torch.zeros(0), "\x1b[2J\n"]


def objects():
    """Some of what a run saves, in use."""
    layer = torch.nn.Linear(2, 2)
    flat = FlatParameters(layer)
    optimizer = LazyAdam(flat, AdamOptions(lr=0.1), None)
    optimizer.step(lambda tensor: tensor)
    statistics = Statistics()
    statistics.report("Loss/G/loss", torch.ones(2))
    return {
        "layer": layer,
        "optimizer": optimizer,
        "statistics": statistics,
        "ada": AdaController(0.6, 1.0, 500, 4),
        "health": HealthMonitor(1.0, 1000),
        "progress": Progress(nimg=8),
    }


def places(value, name=()):
    yield name
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in pairs:
        yield from places(item, (*name, key))


def use(found):
    """What a run does with them next."""
    found["optimizer"].step(lambda tensor: tensor)
    found["statistics"].summaries()
    found["ada"].step(torch.zeros(()), 4)
    found["health"].tick({}, p=0.0, pl_mean=0.0, skipped=0.0)
    found["progress"].end_tick()


def test_whatever_is_in_a_state_it_works_or_is_one_line(tmp_path):
    Checkpoints(tmp_path, objects()).save(8)
    (path,) = list_checkpoints(tmp_path)
    whole = unpack(path)
    refused = 0
    for place in list(places(whole))[1:]:
        for odd in ODD:
            state = copy.deepcopy(whole)
            group = state
            for name in place[:-1]:
                group = group[name]
            group[place[-1]] = odd
            path.write_bytes(pack(state))
            found = objects()
            try:
                Checkpoints(tmp_path, found).load_latest()
            except UserError as error:
                refused += 1
                assert str(error).isprintable()  # noqa: PT017
                continue
            use(found)
    assert refused > 200


@pytest.mark.parametrize("text", ["5", "[]", "{", '{"a": {"$tensor": "b"}}', '{"a": {"$items": 5}}', "[" * 100_000])
def test_a_tree_that_is_none_is_a_damaged_checkpoint(tmp_path, text):
    from safetensors.torch import save

    from torch_utils import checkpoint

    digest = checkpoint._digest(text, {})
    header = {"format": checkpoint.FORMAT, "state": text, "sha256": digest}
    (tmp_path / "checkpoint-000000001.safetensors").write_bytes(save({}, metadata=header))
    with pytest.raises(UserError, match="every checkpoint"):
        Checkpoints(tmp_path, {"a": Progress()}).load_latest()
