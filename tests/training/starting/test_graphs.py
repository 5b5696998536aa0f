"""Whether a run uses CUDA graphs: what `auto` is on each device, where the memory decides, and in a run that goes on.

The GPU is one in name only: nothing is computed on it.
"""

import json

import pytest
import torch

from torch_utils.processes.distributed import World
from training import memory
from training.config import continuing, load_config, resolve
from training.options import TrainingOptions
from training.run_dir import RunDir
from training.starting import command

SMALL = {"cbase": 128, "cmax": 8, "batch": 8, "metrics": (), "precision": "fp32"}
PLENTY, LITTLE = 2.0**40, 2.0**20


@pytest.fixture
def place(monkeypatch):
    """Lets a machine have a GPU with so much free memory, or none."""

    def choose(device, free=PLENTY):
        for module in (resolve, continuing, command):
            monkeypatch.setattr(module, "choose_device", lambda name, rank=None: torch.device(device))
        monkeypatch.setattr(memory, "available_bytes", lambda device: free)

    return choose


def begun(tmp_path, **options):
    """The session of a command in the run directory `run`, and whether its file says that there are graphs."""
    session = command.begin(TrainingOptions(**SMALL, run_dir=str(tmp_path / "run"), **options), World())
    session.run.unlock()
    written = json.loads((tmp_path / "run" / "training_options.json").read_text())["precision"]["cuda_graphs"]
    assert written is session.config.precision.cuda_graphs
    return session


def about_memory(session):
    return [line for line in session.introduction if "without CUDA graphs" in line]


@pytest.mark.parametrize(
    ("device", "free", "choice", "graphs"),
    [
        ("cuda", PLENTY, None, True),
        ("cuda", PLENTY, "auto", True),
        ("cuda", PLENTY, False, False),
        ("cuda", LITTLE, None, False),
        ("cuda", LITTLE, True, True),
        ("cpu", PLENTY, None, False),
        ("cpu", LITTLE, True, True),
    ],
)
def test_what_a_run_begins_with(tmp_path, place, device, free, choice, graphs):
    place(device, free)
    session = begun(tmp_path, cuda_graphs=choice)
    assert session.config.precision.cuda_graphs is graphs
    assert session.config.uses_graphs == (graphs and device == "cuda")
    assert any(", CUDA graphs" in line for line in session.introduction) == session.config.uses_graphs
    assert len(about_memory(session)) == (device == "cuda" and free == LITTLE and not graphs)


def test_a_run_whose_values_are_looked_at_does_not_speak_of_graphs(tmp_path, place):
    place("cuda")
    session = begun(tmp_path, nan_check=True)
    assert session.config.uses_graphs  # for the next session
    assert not any(", CUDA graphs" in line for line in session.introduction)


def test_several_processes_have_graphs_where_one_insists(place):
    place("cuda")
    for choice, graphs in ((None, False), (True, True)):
        config, _ = resolve.resolve(TrainingOptions(**SMALL, cuda_graphs=choice), 2)
        assert config.precision.cuda_graphs is graphs


@pytest.mark.parametrize(
    ("before", "now", "graphs"),
    [
        ({"cuda_graphs": False}, {}, False),
        ({"cuda_graphs": False}, {"precision": "bf16"}, False),
        ({"cuda_graphs": False}, {"cuda_graphs": "auto"}, True),
        ({"cuda_graphs": True}, {}, True),
        ({}, {"precision": "bf16"}, True),
        ({}, {"cuda_graphs": False}, False),
    ],
)
def test_a_run_that_goes_on_keeps_its_choice(tmp_path, place, before, now, graphs):
    place("cuda")
    begun(tmp_path, **before)
    config = continuing.extend(load_config(tmp_path / "run"), TrainingOptions(**now), 1)
    assert config.precision.cuda_graphs is graphs
    assert config.precision.dtype == ("bfloat16" if "precision" in now else "float32")


def test_a_run_that_moves_has_its_choice_open_again(tmp_path, place):
    place("cpu")
    begun(tmp_path)
    on_cpu = load_config(tmp_path / "run")
    place("cuda")
    on_gpu = continuing.extend(on_cpu, TrainingOptions(), 1)
    assert on_gpu.uses_graphs
    assert not continuing.extend(on_gpu, TrainingOptions(), 2).uses_graphs


@pytest.mark.parametrize("flag", [{}, {"cuda_graphs": True}])
def test_memory_decides_when_a_run_goes_on_too(tmp_path, place, monkeypatch, flag):
    place("cuda")
    begun(tmp_path)
    place("cuda", LITTLE)
    monkeypatch.setattr(RunDir, "can_continue", True)
    session = command.begin(TrainingOptions(continue_dir=str(tmp_path / "run"), **flag), World())
    session.run.unlock()
    assert session.config.uses_graphs == bool(flag)
    assert len(about_memory(session)) == (not flag)
    notes = [line for line in session.introduction if "not bit for bit" in line]
    assert notes == [] if flag else "CUDA graphs no instead of yes" in notes[0]
