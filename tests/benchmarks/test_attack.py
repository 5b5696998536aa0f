"""The first cases of the attack; `python -m benchmarks.attack` goes on."""

import pytest

from benchmarks import attack

CASES = 15  # of each kind


@pytest.fixture(scope="module")
def field():
    with attack.battlefield() as found:
        yield found


@pytest.mark.parametrize("kind", attack.KINDS)
def test_no_door_gives_way(field, kind):
    assert attack.attack(field, kind, 0, range(CASES)) == []


def test_executed_code_would_be_noticed(field, monkeypatch):
    mark = field.marks / "executed"
    monkeypatch.setitem(attack.KINDS, "canary", lambda *_: (mark.touch(), ("generate", "--help"))[1])
    assert attack.attack(field, "canary", 0, range(1)) == [(0, "executed")]
    mark.unlink()
