"""The first cases of the attack; `python -m benchmarks.attack` goes on."""

import pytest

from benchmarks.attack import runner
from benchmarks.attack.field import battlefield
from benchmarks.attack.page import page
from benchmarks.attack.shown import obeyed

CASES = 15  # of each kind that is quick


@pytest.fixture(scope="module")
def field():
    with battlefield() as found:
        yield found


@pytest.mark.parametrize("kind", runner.KINDS)
def test_no_door_gives_way(field, kind):
    assert runner.attack(field, kind, 0, range(CASES // runner.SHARES.get(kind, 1))) == []


def test_executed_code_would_be_noticed(field, monkeypatch):
    mark = field.marks / "executed"
    monkeypatch.setitem(runner.KINDS, "canary", lambda *_: (mark.touch(), ("generate", "--help"))[1])
    assert runner.attack(field, "canary", 0, range(1)) == [(0, "executed")]
    mark.unlink()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("output", "a\x1b[2J"),
        ("output", "a\nCANARY: b"),
        ("log.txt", "a\x9bb"),
        ("report.html", "<p><CANARY onload=x>"),
        ("report.html", '<p title=""><b CANARY="">'),
        ("report.html", '<a href="JavaScript:CANARY">'),
    ],
)
def test_text_that_is_obeyed_would_be_noticed(tmp_path, name, text):
    if name != "output":
        (tmp_path / name).write_text(text)
    assert obeyed(text if name == "output" else "", tmp_path).startswith(name)


def test_text_that_is_shown_as_text_is_right(tmp_path):
    (tmp_path / "report.html").write_text("<p>&lt;CANARY&gt; <script>x = '<\\/script>'</script>")
    assert obeyed("error: \\x1b[2J CANARY <CANARY>\n", tmp_path) == ""


def test_pieces_are_added_up():
    piece = {"command": "c", "provenance": {"torch": "2"}, "cases": {"latents": 40}, "faults": {"latents": ["a: b"]}}
    text = page([piece, {**piece, "faults": {}, "provenance": {"torch": "3"}}])
    assert "| latents | 80 | 1 |" in text
    assert "* torch: 2, 3" in text
    assert "* latents: 1 x a" in text
