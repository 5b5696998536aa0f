"""Phases as CUDA graphs: the numbers of eager phases, and eager phases where no graph can be captured.

On the CPU a stand-in for the capture calls the function again, so that everything but CUDA's own part is tested there.
"""

import subprocess
import sys
import weakref
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from torch.overrides import TorchFunctionMode

import rooted
from torch_utils import cuda_graphs
from torch_utils.ops.grid_sample import gather_bilinear
from torch_utils.processes.distributed import World
from torch_utils.statistics import Statistics
from training.augment import PseudoReals, build_pipe, geometry
from training.augment.ada import AdaController
from training.config.schema import RegularizationOptions, TrainingConfig
from training.lecam import LeCam
from training.networks import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from training.objective import Objective

ROOT = Path(__file__).resolve().parents[2]
PHASES = ["Gmain", "Greg", "Dmain", "Dreg"]


def by_calling_again(run, device, pool):
    """In place of `captured`."""
    run()
    return run


@pytest.fixture
def sessions(tiny, device, monkeypatch):
    """Opens a run with graphs and the same one without."""
    if device.type == "cpu":
        monkeypatch.setattr(cuda_graphs, "captured", by_calling_again)

    def open_both(**options):
        options = {"device": device.type, "nobench": True, **options}
        both = [tiny.open(name, cuda_graphs=name == "graphs", **options) for name in ("graphs", "eager")]
        if device.type == "cpu":
            both[0].runner.accumulators = both[0].accumulators
        return both

    return open_both


def gradient(run, phase, nimg):
    run.progress.nimg = nimg
    run.runner.accumulate(phase, nimg, run.real_batch())
    return phase.optimizer.gradient.clone()


def distance(a, b):
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({"aug": "noaug"}, 1e-4),
        ({"aug": "fixed", "p": 0.6, "augpipe": "bgcfnc", "batch_gpu": 4}, 1e-4),
        ({"aug": "fixed", "p": 0.6, "precision": "bf16"}, 2e-2),
        ({"pair": True, "r2_gamma": 1.0, "lecam": 1e-2, "augpipe": "diffaug"}, 1e-4),
    ],
)
def test_gradients_and_sums_are_those_of_eager_phases(sessions, options, tolerance):
    """Over steps with other images and random numbers, in accumulated micro-batches, and again for the same step."""
    graphs, eager = sessions(**options)
    seen = {name: [] for name in PHASES}
    for nimg in (0, 8, 1024, 8):
        for captured, plain in zip(graphs.phases, eager.phases, strict=True):
            found, expected = gradient(graphs, captured, nimg), gradient(eager, plain, nimg)
            assert found.any()
            assert distance(found, expected) < tolerance, (captured.name, nimg)
            seen[captured.name].append(found)
    assert list(graphs.runner.graphs) == PHASES
    for name, (first, second, third, again) in seen.items():
        assert min(distance(second, first), distance(third, first), distance(third, second)) > 0.1, name
        assert distance(again, second) < tolerance, name
    for found, expected in zip(graphs.accumulators(), eager.accumulators(), strict=True):
        torch.testing.assert_close(found, expected, rtol=max(tolerance, 1e-3), atol=max(tolerance, 1e-3))


def test_parameters_move_between_replays(sessions):
    """A graph reads the parameters where the optimizer writes them, and p where ADA does."""
    graphs, eager = sessions(aug="ada")
    phase = graphs.phases[2]
    before = gradient(graphs, phase, 8)
    for run in (graphs, eager):
        with torch.no_grad():
            run.D.b4.out.weight.mul_(3)
        run.augment.p.fill_(1)
    found, expected = gradient(graphs, phase, 8), gradient(eager, eager.phases[2], 8)
    assert distance(found, before) > 0.1
    assert distance(found, expected) < 1e-4


def test_training_is_that_without_graphs(sessions):
    graphs, eager = sessions(kimg=1)
    start = torch.cat([p.detach().flatten() for p in eager.G_ema.parameters()])
    for run in (graphs, eager):
        run.progress.nimg = 8000  # past the ramp-up of the average
        for _ in range(6):
            run.step()
    found, expected = (torch.cat([p.detach().flatten() for p in run.G_ema.parameters()]) for run in (graphs, eager))
    moved = float((expected - start).norm())
    assert moved > 0
    # Adam without momentum makes much of the last bit of a small gradient; on the CPU there is no difference.
    assert float((found - expected).norm()) < 0.05 * moved
    assert float(graphs.G_opt.skipped + graphs.D_opt.skipped) == 0
    pairs = [(run.statistics.summaries(), run.augment.p, run.ada.r_t, run.objective.pl_mean) for run in (graphs, eager)]
    for name, summary in pairs[1][0].items():
        assert pairs[0][0][name].num == summary.num, name
        assert pairs[0][0][name].mean == pytest.approx(summary.mean, rel=0.05, abs=0.05), name
    torch.testing.assert_close(pairs[0][1:], pairs[1][1:], rtol=0.05, atol=0.01, equal_nan=True)


def test_sums_start_where_they_were(sessions):
    """The runs before the capture leave no trace in the statistics, nor in what steers ADA."""
    graphs, eager = sessions()
    for run in (graphs, eager):
        run.statistics.report("Loss/G/loss", torch.ones(3, device=run.device))
        gradient(run, run.phases[0], 0)
    a, b = graphs.statistics.summaries(), eager.statistics.summaries()
    assert list(a) == list(b)
    assert [summary.num for summary in a.values()] == [summary.num for summary in b.values()]


def broken(after):
    """A capture that works for the first `after` phases and fails then, when the phase has left its traces."""
    attempts = []

    def capture(run, device, pool):
        attempts.append(run)
        run()
        if len(attempts) > after:
            try:
                raise RuntimeError("operation not permitted when stream is capturing\nCompile with ...")
            finally:
                raise RuntimeError("operation failed due to a previous error during capture")
        return run

    capture.attempts = attempts
    return capture


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_capture_that_fails_means_eager_phases_and_one_line(tiny, monkeypatch, after):
    capture = broken(after)
    monkeypatch.setattr(cuda_graphs, "captured", capture)
    graphs, eager = tiny.open("graphs"), tiny.open("eager")
    graphs.runner.accumulators = graphs.accumulators
    for nimg in (0, 8):
        for phase, plain in zip(graphs.phases, eager.phases, strict=True):
            assert torch.equal(gradient(graphs, phase, nimg), gradient(eager, plain, nimg))
    said = (graphs.run.path / "log.txt").read_text().splitlines()
    assert [line for line in said if "graphs" in line] == [
        f"warning: --cuda-graphs: the phases run without graphs, as {PHASES[after]} has none: "
        "operation not permitted when stream is capturing"
    ]
    assert len(capture.attempts) == after + 1
    assert not graphs.runner.graphs
    for found, expected in zip(graphs.accumulators(), eager.accumulators(), strict=True):
        assert torch.equal(found, expected)


def test_a_capture_that_needs_too_much_memory_means_eager_phases_that_have_it_back(tiny, monkeypatch):
    made, freed = [], []

    def capture(run, device, pool):
        run()
        made.append(weakref.ref(run))
        if len(made) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nAnd more")
        return run

    monkeypatch.setattr(cuda_graphs, "captured", capture)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append([kept() is None for kept in made]))
    run, lines = tiny.open(), []
    run.runner.accumulators, run.runner.log = run.accumulators, lines.append
    run.step()
    assert float(run.G_opt.skipped + run.D_opt.skipped) == 0
    assert freed == [[True, True]]  # once, after both the graph that had been made and the half-made one were given up
    assert lines == [
        "warning: `cuda_graphs`: the phases run without graphs, as Greg has none: "
        "CUDA out of memory. Tried to allocate 2.00 GiB."
    ]


def test_what_a_failed_phase_had_begun_is_waited_for(monkeypatch):
    """It still adds to what is put back to where it was."""
    outside, side = Mock(), Mock()
    replaced = {"device": nullcontext, "stream": nullcontext, "current_stream": lambda: outside, "Stream": lambda: side}
    for name, stand_in in replaced.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    with pytest.raises(RuntimeError, match="out of memory"):
        cuda_graphs.captured(Mock(side_effect=[None, RuntimeError("out of memory")]), torch.device("cuda"), None)
    outside.wait_stream.assert_called_once_with(side)


def test_nothing_is_captured_where_values_are_looked_at(tiny, monkeypatch):
    monkeypatch.setattr(TrainingConfig, "uses_graphs", True)
    assert tiny.open("graphs").runner.accumulators is not None
    assert tiny.open("looked at", housekeeping={"nan_check": True}).runner.accumulators is None


def frozen_numbers(run, device, pool):
    run()

    def replay():
        torch.manual_seed(3)
        run()

    return replay


def half_the_work(run, device, pool):
    run()
    return lambda: None


@pytest.mark.parametrize("capture", [frozen_numbers, half_the_work])
def test_a_graph_that_computes_something_else_is_not_used(tiny, monkeypatch, capture):
    monkeypatch.setattr(cuda_graphs, "captured", capture)
    graphs, eager = tiny.open("graphs"), tiny.open("eager")
    graphs.runner.accumulators, lines = graphs.accumulators, []
    graphs.runner.log = lines.append
    assert torch.equal(gradient(graphs, graphs.phases[0], 0), gradient(eager, eager.phases[0], 0))
    assert len(lines) == 1
    assert "as Gmain has none: its gradient differs from the eager one" in lines[0]


BROKEN_ON_THE_DEVICE = """
import contextlib, sys, tempfile
from pathlib import Path
import torch
from torch_utils.processes.distributed import World
from torch_utils import cuda_graphs
from training.config.resolve import resolve
from training.options import TrainingOptions
from training.run_dir import RunDir
from training.training_loop import Housekeeping, TrainingRun

if sys.argv[1] == "inside":  # the check before the capture is left out
    cuda_graphs.waiting_is_an_error = contextlib.nullcontext
flags = {"cbase": 128, "cmax": 8, "batch": 8, "kimg": 1, "metrics": (), "device": "cuda", "precision": "fp32"}
gradients = []
for graphs in (True, False):
    config, dataset = resolve(TrainingOptions(**flags, cuda_graphs=graphs), 1)
    run = TrainingRun(config, dataset, RunDir(Path(tempfile.mkdtemp())), World(), Housekeeping(progress_bar=False))
    lines = []
    run.runner.log = lines.append
    observe = run.objective.observe_signs
    run.objective.observe_signs = lambda signs: (observe(signs), float(signs.sum()))  # waits for the device, in D
    for step in range(3):
        run.step()
    gradients.append(torch.cat([phase.optimizer.gradient for phase in run.phases]).clone())
    assert len(lines) == int(graphs), lines
    assert not run.runner.graphs
    if graphs:
        print(lines[0])
difference = float((gradients[0] - gradients[1]).norm() / gradients[1].norm())
assert difference < 0.05, difference
pool = torch.cuda.memory_reserved()
del run
torch.cuda.empty_cache()
print("reserved", pool, torch.cuda.memory_reserved())
"""


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("where", ["before", "inside"])
def test_a_phase_that_waits_for_the_device_runs_eagerly(where):
    """Found before the capture, or by the capture; in a process of its own, as the second may leave ruins."""
    command = [sys.executable, "-c", BROKEN_ON_THE_DEVICE, where]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    warning = "warning: `cuda_graphs`: the phases run without graphs, as Dmain has none: "
    assert sum(line.startswith(warning) for line in done.stdout.splitlines()) == 1, done.stdout


class NoValuesFromTheHost(TorchFunctionMode):
    """Fails where a function makes a tensor of numbers that the processor has: copied to a GPU, it waits for it."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        assert func not in (torch.tensor, torch.Tensor.new_tensor, torch.from_numpy, torch.Tensor.item)
        assert func is not torch.as_tensor or isinstance(args[0], torch.Tensor)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(
    ("loss", "augment"),
    [("ce", "bgcfnc"), ("rlo:k=8", "diffaug"), ("rlo:k=8:form=convex:g=ce", "apa"), ("ce:pair", "bgc")],
)
def test_no_phase_copies_from_the_host(monkeypatch, no_host_copies, phase, loss, augment):
    """On the meta device, with all that a phase calls; a copy or a wait would break the capture."""
    monkeypatch.setattr(geometry, "grid_sample", gather_bilinear)
    with torch.device("meta"):
        sizes = {"img_resolution": 16, "channel_base": 256, "channel_max": 8, "c_dim": 3}
        G = Generator(GeneratorConfig(z_dim=16, w_dim=24, mapping_layers=2, **sizes))
        D = Discriminator(DiscriminatorConfig(**sizes))
        z, c, real = torch.randn(8, 16), torch.zeros(8, 3), torch.randn(8, 3, 16, 16)
    pseudo = PseudoReals().to("meta") if augment == "apa" else None
    objective = Objective(
        G=G,
        D=D,
        augment=pseudo or build_pipe(augment).to("meta"),
        adversarial=rooted.parse_adversarial_loss(loss),
        options=RegularizationOptions(r1_gamma=10.0, r2_gamma=1.0),
        lecam=LeCam(3e-7, "meta"),
        replace_reals=pseudo.replace if pseudo else None,
        report=Statistics(World(), "meta").report,
        observe_signs=AdaController(0.6, device="meta").observe,
    )
    network = G if phase.startswith("G") else D
    network.requires_grad_(True)
    for other in {G, D} - {network}:
        other.requires_grad_(False)
    with NoValuesFromTheHost(), no_host_copies:
        for _ in range(2):  # the first makes the sums, the second adds to them
            getattr(objective, phase)(0.5, z=z, c=c, real=real, real_c=c)
    assert next(network.parameters()).grad.is_meta
