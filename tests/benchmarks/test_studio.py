"""The benchmark of the studio: where it starts the server, and what it says when there is none."""

import pytest
from click.testing import CliRunner


def test_a_studio_that_does_not_start_is_said_in_a_line(tmp_path, monkeypatch):
    pytest.importorskip("websockets")
    from benchmarks import studio

    monkeypatch.chdir(tmp_path)
    (tmp_path / "studio.py").write_text("open('started', 'w').close()")
    monkeypatch.setattr(studio, "COMMAND", tmp_path / "studio.py")
    monkeypatch.setattr(studio, "_drawing_times", lambda network: [])
    result = CliRunner().invoke(studio.main, ["--network=net.safetensors"])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "the studio did not start" in result.stderr
    assert (tmp_path / "started").exists()  # where the command was given, as --network may be a relative path
