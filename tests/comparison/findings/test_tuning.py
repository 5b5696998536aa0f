import json

import pytest

from comparison.findings.tuning import choose_rates
from comparison.runs.collect import failure_file
from comparison.runs.design import Design, Tuning
from comparison.runs.jobs import trial_folder, trial_jobs
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
                    folder = trial_folder(tmp_path, loss, rate, seed)
                    write_run(folder, seed, [100.0, 60.0, 50.0 if value is None else value], kimg=2.0)
                    if value is None:
                        failure_file(folder).write_text(json.dumps({"diverged": True}))
        return choose_rates(tmp_path, design)

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
