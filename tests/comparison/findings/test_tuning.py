import json

import pytest

from comparison.findings.tuning import choose
from comparison.runs.collect import failure_file
from comparison.runs.design import Design, Tuning
from comparison.runs.jobs import Point, trial_folder, trial_jobs
from comparison.runs.losses import parse_losses


@pytest.fixture
def design():
    losses = tuple(parse_losses("ce,rlo:k=2:form=convex,rlo:k=11:glr=0.003"))
    return Design(
        losses=losses, seeds=(0, 1), kimg=10.0, metrics=("swd",), tuning=Tuning((0.001, 0.002, 0.004), (7, 8), 2.0)
    )


@pytest.fixture
def write_trials(tmp_path, design, write_run):
    def write(finals):
        """`finals`: loss key -> rate -> final values of the two seeds; None diverges."""
        for loss in design.losses[:2]:
            for rate, values in finals[loss.key].items():
                for seed, value in zip(design.tuning.seeds, values, strict=True):
                    folder = trial_folder(tmp_path, loss, Point(rate, None), seed)
                    write_run(folder, seed, [100.0, 60.0, 50.0 if value is None else value], kimg=2.0)
                    if value is None:
                        failure_file(folder).write_text(json.dumps({"diverged": True}))
        return choose(tmp_path, design)

    return write


def test_every_loss_gets_the_same_effort(design, tmp_path):
    jobs = trial_jobs(tmp_path, design)
    assert len(jobs) == 2 * 3 * 2  # the third loss names its rate
    by_loss = [sum(f"--loss={name}" in job.flags for job in jobs) for name in ("ce", "rlo")]
    assert by_loss == [6, 6]
    assert all("--kimg=2" in job.flags for job in jobs)
    assert {flag for job in jobs for flag in job.flags if flag.startswith("--seed")} == {"--seed=7", "--seed=8"}


def test_the_best_mean_is_chosen_but_never_a_diverged_rate(write_trials):
    result = write_trials(
        {
            "ce": {0.001: (30.0, 32.0), 0.002: (20.0, 22.0), 0.004: (25.0, 27.0)},
            "rlo-k2-convex": {0.001: (24.0, 26.0), 0.002: (30.0, 30.0), 0.004: (10.0, None)},
        }
    )
    assert result.rates == {"ce": 0.002, "rlo-k2-convex": 0.001}
    trials = {trial.rate: trial for trial in result.trials["rlo-k2-convex"]}
    assert trials[0.004].diverged == 1
    assert not trials[0.004].chosen
    assert trials[0.001].mean == 25.0
    (note,) = result.notes  # 0.001 is the lowest rate tried
    assert "RLO-2 convex" in note
    assert "edge of the search" in note


def test_nothing_is_chosen_while_a_trial_is_missing(write_trials):
    assert write_trials({"ce": {0.001: (30.0, 32.0)}, "rlo-k2-convex": {}}) is None


def test_rates_and_r1_weights_are_a_grid_but_what_a_loss_names_is_left_alone(tmp_path):
    losses = tuple(parse_losses("ce,rlo:k=2:glr=0.003,rlo:k=3:gamma=7,rlo:k=4:glr=0.003:gamma=7,ce:lecam=3e-7"))
    tuning = Tuning((0.001, 0.002), (7, 8), 2.0, gammas=(0.1, 0.5, 2.5))
    jobs = trial_jobs(tmp_path, Design(losses=losses, seeds=(0,), kimg=10.0, metrics=("swd",), tuning=tuning))
    names = [job.folder.name for job in jobs]
    assert len(set(names)) == len(names) == 2 * (2 * 3 + 3 + 2 + 0 + 2 * 3)
    assert {
        "ce-lr0.001-gamma0.5-seed7",
        "rlo-k2-bounded-glr0.003-gamma2.5-seed8",
        "rlo-k3-bounded-gamma7-lr0.002-seed8",
        "ce-lecam3e-07-lr0.002-gamma0.1-seed7",
    } <= set(names)
    (job,) = [job for job in jobs if job.folder.name == "ce-lr0.001-gamma0.5-seed7"]
    assert {"--glr=0.001", "--dlr=0.001", "--gamma=0.5"} <= set(job.flags)


def test_the_best_of_the_grid_is_chosen_and_edges_are_named(tmp_path, write_run):
    tuning = Tuning((0.001, 0.002, 0.004), (7,), 2.0, gammas=(0.1, 0.5, 2.5))
    losses = tuple(parse_losses("ce,rlo:k=2:gamma=7"))
    design = Design(losses=losses, seeds=(0,), kimg=10.0, metrics=("swd",), tuning=tuning)
    for i, rate in enumerate(tuning.rates):
        for j, gamma in enumerate(tuning.gammas):
            final = 20.0 + 5 * abs(i - 1) + 5 * abs(j - 2)
            write_run(trial_folder(tmp_path, losses[0], Point(rate, gamma), 7), 7, [90.0, final], kimg=2.0)
        write_run(trial_folder(tmp_path, losses[1], Point(rate, None), 7), 7, [90.0, 20.0 + 5 * abs(i - 1)], kimg=2.0)
    result = choose(tmp_path, design)
    assert result.rates == {"ce": 0.002, "rlo-k2-bounded-gamma7": 0.002}
    assert result.gammas == {"ce": 2.5}
    (note,) = result.notes
    assert note == "CE: the best R1 weight, 2.5, lies at the edge of the search; a better one may lie beyond."
    chosen = [trial for trials in result.trials.values() for trial in trials if trial.chosen]
    assert [(trial.rate, trial.gamma) for trial in chosen] == [(0.002, 2.5), (0.002, None)]
