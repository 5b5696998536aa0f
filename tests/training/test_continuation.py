"""An interrupted run ends exactly where the uninterrupted one does."""

import json
import random

import pytest

from benchmarks.kill_test import BF16, TINY, differences, finish, kill, statistics
from torch_utils.checkpoint import list_checkpoints
from training.outputs.board import Board
from training.progress import Progress

OPTIONS = {
    "ada": {"ada_kimg": 0.5, "target": 0.0, "p_max": 0.5},
    "rlo, accumulated": {"loss": "rlo", "k": 2.0, "batch_gpu": 4, "mbstd_group": 4, "mirror": True},
    "bfloat16, fixed": {"precision": "bf16", "aug": "fixed", "p": 0.5},
    "pairs, R2, LeCam, DiffAugment": {"pair": True, "r2_gamma": 1.0, "lecam": 1e-2, "augpipe": "diffaug"},
    "two losses, LeCam, APA": {
        "alpha": 0.7, "g_loss": "ce", "lecam": 1e-2, "gamma_scale": "alpha", "aug": "apa", "apa_target": 0.0,
        "batch_gpu": 4, "mbstd_group": 4,
    },
}  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_interruptions_in_the_middle_of_ticks_change_nothing(tiny, options):
    tiny.train("whole", **options)
    # Ticks end after steps 1, 6, 11 and 15; so these sessions end inside and at the end of ticks.
    for steps in (3, 3, 2, 4):
        tiny.train("parts", steps=steps, **options)
    session = tiny.train("parts", **options)
    assert session.continued
    assert differences(tiny.folder / "parts", tiny.folder / "whole") == []
    assert [line["Progress/kimg"]["mean"] for line in statistics(tiny.folder / "parts")] == [0.008, 0.048, 0.088, 0.12]


@pytest.mark.parametrize("size", [(48, 32), (24, 32)], ids=["3:2", "3:4"])
def test_interruptions_change_nothing_where_images_are_not_square(tiny, make_pictures, size):
    options = {"data": str(make_pictures(size)), "ada_kimg": 0.5, "target": 0.0}
    tiny.train("whole", **options)
    for steps in (3, 6):
        tiny.train("parts", steps=steps, **options)
    assert tiny.train("parts", **options).G.config.img_size == size[::-1]
    assert differences(tiny.folder / "parts", tiny.folder / "whole") == []


def test_the_comparison_would_notice_another_run(tiny, whole):
    """Without this the tests above could pass on two runs that never trained."""
    tiny.train("other", seed=1)
    found = differences(tiny.folder / "other", whole)
    assert {"checkpoint", "stats.jsonl", "network-snapshot-000000.safetensors"} <= set(found)


def test_p_has_moved_where_continuation_is_tested(tiny):
    session = tiny.train(ada_kimg=0.5, target=0.0)
    assert float(session.augment.p) > 0


def test_what_was_written_after_the_checkpoint_is_written_once(tiny, whole):
    """A session that is lost after a tick, but before its checkpoint, leaves a line that comes again."""
    tiny.train("lost", steps=4)
    lines = (tiny.folder / "lost" / "stats.jsonl").read_text()
    tiny.train("lost", steps=4)
    later = list_checkpoints(tiny.folder / "lost")[0]
    later.unlink()
    with open(tiny.folder / "lost" / "stats.jsonl", "a") as stream:
        stream.write('{"Progress/kimg": {"num": 1, "me')
    assert len((tiny.folder / "lost" / "stats.jsonl").read_text()) > len(lines)
    tiny.train("lost")
    assert differences(tiny.folder / "lost", whole) == []


def test_a_run_killed_before_its_first_checkpoint_begins_again(tiny, whole):
    tiny.train("early", steps=4)
    for path in list_checkpoints(tiny.folder / "early"):
        path.unlink()
    (tiny.folder / "early" / ".checkpoint-000000032.safetensors.abcd1234.tmp").write_bytes(b"half")
    tiny.train("early")
    assert differences(tiny.folder / "early", whole) == []
    assert not list((tiny.folder / "early").glob(".*.tmp"))


def test_tensorboard_shows_each_point_once(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def session(progress: Progress, kimgs: list[int]) -> None:
        board = Board(tmp_path, progress)
        for kimg in kimgs:
            board.write({"Progress/augment": kimg / 10, "Loss/G/loss": float("nan")}, kimg + 0.3)
        board.close()

    session(Progress(), [0, 2, 4, 6])
    # Files are read in the order of their names: the second they were begun in, then a count, of which 10 is before 9.
    [first] = tmp_path.glob("events.*")
    first.rename(tmp_path / "events.out.tfevents.0000000001.first")
    # Continued from a checkpoint between the ticks at 2.3 and 4.3 kimg.
    session(Progress(nimg=3900, tick=2, tick_nimg=2300), [4, 6, 8])
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in events.Scalars("Progress/augment")] == [0, 2, 4, 6, 8]
    assert "Loss/G/loss" not in events.Tags()["scalars"]


@pytest.fixture
def whole_bf16(tmp_path):
    finish(tmp_path / "whole", BF16)
    return tmp_path / "whole"


@pytest.mark.parametrize(
    ("options", "uninterrupted"), [(TINY, "whole_command"), (BF16, "whole_bf16")], ids=["fp32", "bf16"]
)
def test_five_kills_change_nothing(request, tmp_path, options, uninterrupted):
    """SIGKILL at random moments, three of five in the middle of a save; `benchmarks.kill_test` does more."""
    choose, whole, killed = random.Random(0), request.getfixturevalue(uninterrupted), 0
    run_dir = tmp_path / "killed"
    while killed < 5:
        if kill(run_dir, choose.uniform(0, 0.1), killed % 2 == 0, options):
            killed += 1
        else:  # it was faster than the signal
            assert differences(run_dir, whole) == []
            run_dir = run_dir.with_name(f"{run_dir.name}-again")
    finish(run_dir, options)
    assert differences(run_dir, whole) == []
    finished = json.loads((run_dir / "finished.json").read_text())
    assert finished["kimg"] == 0.12


@pytest.mark.slow
@pytest.mark.parametrize(
    "extra",
    ["--alpha=0.7", "--g-loss=alpha=0.7", "--pair", "--r2-gamma=1", "--lecam=0.01", "--alpha=2 --gamma-scale=alpha",
     "--aug=fixed --augpipe=diffaug", "--aug=apa --apa-target=0", "48x32", "24x32"],
)  # fmt: skip
def test_two_kills_change_nothing_with_each_option(tmp_path, make_pictures, extra):
    """An option, or the size of images that are not square."""
    own = extra.split() if "-" in extra else [f"--data={make_pictures(tuple(map(int, extra.split('x'))))}"]
    options = tuple(option for option in TINY if "--aug" not in extra or option not in ("--ada-kimg=0.5", "--target=0"))
    finish(tmp_path / "whole", (*options, *own))
    for in_a_save in (True, False):
        kill(tmp_path / "killed", 0.05, in_a_save, (*options, *own))
    finish(tmp_path / "killed", (*options, *own))
    assert differences(tmp_path / "killed", tmp_path / "whole") == []
