"""Starting a studio: networks and runs that are there or not, ports, hosts, secrets; every mistake is one line."""

import json
import os
import shutil
import socket

import pytest
import torch
from click.testing import CliRunner

import studio.serve
from dnnlib import UserError
from rooted_stylegan import studio as door
from studio.guard import lasting_secret
from studio.networks import Catalogue
from studio.serve import is_loopback, listen
from training.run_dir import RunDir
from training.snapshot import load_snapshot


def catalogue_of(*networks, runs=()):
    return Catalogue([str(network) for network in networks], runs, torch.device("cpu"), load_snapshot)


def test_mistakes_are_one_line(files, tmp_path):
    (tmp_path / "junk.pkl").write_bytes(b"junk")
    (tmp_path / "empty").mkdir()
    for flags, words in (
        ([], "--network"),
        (["--network", tmp_path / "junk.pkl"], "neither a safetensors snapshot nor"),
        (["--network", tmp_path / "absent.pkl"], "absent.pkl"),
        (["--run", tmp_path / "empty"], "no run directory"),
        (["--network", files["plain"], "--host", "not a host"], "--host"),
        (["--network", files["plain"], "--device", "tpu"], "--device"),
        (["--network", files["plain"], "--network", files["other"], "--network-sha256", "00000000"], "one --network"),
    ):
        result = CliRunner().invoke(door.main, [str(flag) for flag in [*flags, "--no-browser"]])
        assert result.exit_code == 2, result.output
        assert len(result.stderr.splitlines()) == 1
        assert words in result.stderr


def test_the_address_is_printed_and_a_taken_port_is_said(files, monkeypatch):
    monkeypatch.setattr(studio.serve.uvicorn.Server, "run", lambda self, sockets: None)
    monkeypatch.setattr(studio.serve.webbrowser, "open", lambda address: False)
    monkeypatch.setattr(studio.serve.torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(studio.serve.sys, "setswitchinterval", lambda seconds: None)
    with listen("127.0.0.1", 18_765) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(door.main, ["--network", str(files["plain"]), f"--port={port}"])
    assert result.exit_code == 0, result.output
    assert f"port {port} is taken; using" in result.stderr
    assert "no browser was found" in result.stderr
    assert "the studio is open at http://127.0.0.1:" in result.stdout
    assert "/?token=" in result.stdout
    open_to_all = CliRunner().invoke(door.main, ["--network", str(files["plain"]), "--host=0.0.0.0", "--no-browser"])
    assert "not encrypted" in open_to_all.stderr


def test_all_ports_taken():
    taken = [socket.create_server(("127.0.0.1", 0))]
    port = taken[0].getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studio.serve, "PORTS_TRIED", 1)
        with pytest.raises(UserError, match=f"`port`={port}"):
            listen("127.0.0.1", port)
    taken[0].close()


@pytest.mark.parametrize(("host", "own"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)])
def test_which_hosts_are_this_machine_alone(host, own):
    assert is_loopback(host) is own


def test_the_secret_lasts_and_is_private(tmp_path):
    folder = tmp_path / "cache"
    secret = lasting_secret(folder)
    assert len(secret) >= 32
    assert lasting_secret(folder) == secret
    [file] = folder.iterdir()
    assert file.stat().st_mode & 0o077 == 0
    file.chmod(0o644)  # somebody else could have read it
    assert lasting_secret(folder) != secret


def test_a_run_without_snapshots_waits_for_the_first(files, tmp_path):
    run = tmp_path / "00000-run"
    run.mkdir()
    RunDir(run).write_options({})
    catalogue = catalogue_of(runs=[run])
    with pytest.raises(UserError, match="no snapshot yet"):
        catalogue.load("A")
    shutil.copy(files["plain"], run / "network-snapshot-000004.safetensors")
    catalogue.refresh()
    assert catalogue.load("A").key == "A@4"
    assert catalogue.describe()[0]["snapshots"] == [4]
    with pytest.raises(UserError, match="no snapshot after 3 kimg; it has 4"):
        catalogue.load("A@3")


def test_a_snapshot_that_is_written_again_is_loaded_again(files, tmp_path):
    run = tmp_path / "00000-run"
    run.mkdir()
    RunDir(run).write_options({})
    path = run / "network-snapshot-000004.safetensors"
    shutil.copy(files["plain"], path)
    catalogue = catalogue_of(runs=[run])
    before = catalogue.load("A")
    assert catalogue.load("A@4") is before
    shutil.copy(files["other"], path)
    os.utime(path, (1, 1))
    assert catalogue.load("A").hash != before.hash
    path.unlink()
    with pytest.raises(UserError, match="network-snapshot-000004"):
        catalogue.load("A")


def test_of_a_folder_of_runs_the_newest_is_taken(run_folder):
    assert catalogue_of(runs=[run_folder.parent]).describe()[0]["title"] == run_folder.name


def test_curves_are_those_of_the_run_and_damaged_ones_are_said(run_folder, tmp_path):
    [curve] = catalogue_of(runs=[run_folder]).curves()
    assert (curve["key"], curve["metric"]) == ("A", "swd1k")
    assert curve["points"] == [[0.0, 220.5], [12.0, 44.0]]
    damaged = tmp_path / "00000-damaged"
    shutil.copytree(run_folder, damaged)
    (damaged / "metric-swd1k.jsonl").write_text(json.dumps({"nimg": 0}) + "\nnonsense\n")
    with pytest.raises(UserError, match="line 2"):
        catalogue_of(runs=[damaged]).curves()


def test_letters_end(files):
    with pytest.raises(UserError, match="too many"):
        catalogue_of(*[files["plain"]] * 27)


def test_small_messages_are_sent_at_once():
    with listen("127.0.0.1", 18_800) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            # What asyncio asks of a socket before it turns Nagle's algorithm off.
            assert accepted.proto == socket.IPPROTO_TCP
