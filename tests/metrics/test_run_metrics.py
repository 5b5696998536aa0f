"""What a run says of its metrics: warnings until their cause has gone, notes once, pictures beside the numbers."""

import json

import metrics.run_metrics
from metrics import RunMetrics
from metrics.results import Result
from torch_utils.processes.distributed import World
from training.run_dir import RunDir


def test_warnings_notes_and_pictures(tmp_path, monkeypatch):
    said = iter(["too many", "even more", None, "again"])

    def compute(names, **options):
        return [Result("copies9", {"copies9": 0.2}, provenance={"alpha": "white"}, picture=b"PNG", warning=next(said))]

    monkeypatch.setattr(metrics.run_metrics, "compute", compute)
    run = RunDir(tmp_path)
    evaluator = RunMetrics(["copies9"], run, World(), seed=0)
    for nimg in (0, 1000, 2000, 3000):
        assert evaluator.compute(None, None, None, "snapshot", nimg) == {"copies9": 0.2}
    log = (tmp_path / "log.txt").read_text().splitlines()
    assert [line for line in log if not line.startswith("metric ")] == [
        "note: images with transparency are white",
        "warning: too many",
        "warning: again",
    ]
    assert len((tmp_path / "metric-copies9.jsonl").read_text().splitlines()) == 4
    assert "picture" not in json.loads((tmp_path / "metric-copies9.jsonl").read_text().splitlines()[0])
    assert list(run.pictures("copies9")) == [0, 1000, 2000, 3000]
    assert run.pictures("copies9")[2000].read_bytes() == b"PNG"
    run.discard()
    assert not tmp_path.exists()
