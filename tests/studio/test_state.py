"""States: every way of writing them gives them back, and the same bytes; whatever else is refused in one line."""

import json
import random
import shlex

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import generate
from dnnlib import UserError
from generation.edits import Edit, format_layers, parse_edit, parse_layers
from projection.outputs import latents_file
from studio.render import Artist, Photos
from studio.state import State, read_json


@pytest.mark.parametrize("number", range(50))
def test_permalink_preset_and_command_give_the_same_bytes(number, catalogue, artist, random_state, tmp_path):
    left = "AB"[number % 2]
    network = catalogue.load(left)
    state, notes = artist.fit(random_state(random.Random(number), left, left == "B"), network)
    assert notes == []
    drawn = artist.png(state, network)
    preset = State.from_json(read_json(json.dumps(state.to_json())))
    address = State.from_query(state.query())
    assert preset == address == state
    assert artist.png(preset, network) == artist.png(address, network) == drawn
    python, script, *flags = shlex.split(state.command(network.location))
    assert (python, script, flags.pop()) == ("python", "generate.py", "--outdir=out")
    result = CliRunner().invoke(generate.main, [*flags, f"--outdir={tmp_path}"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / state.file_name).read_bytes() == drawn


@pytest.mark.parametrize("noise", ["const", "random", "none"])
def test_a_photographs_command_gives_the_same_bytes(noise, catalogue, tmp_path):
    photos = Photos()
    artist, network = Artist(torch.device("cpu"), photos), catalogue.load("A")
    name = photos.add(torch.randn(1, network.G.num_ws, network.G.w_dim, generator=torch.Generator().manual_seed(1)))
    edits = (Edit("pca", 1, 0.5), Edit("sefa", 0, -1.0, (2, 3)))
    state, notes = artist.fit(State(photo=name, psi=0.7, noise=noise, noise_seed=5, edits=edits), network)
    assert notes == []
    file = tmp_path / "projected_w.npz"
    file.write_bytes(latents_file(photos.get(name)))
    _, _, *flags = shlex.split(state.command(network.location, str(file)))
    result = CliRunner().invoke(generate.main, [*flags[:-1], f"--outdir={tmp_path}"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / state.file_name).read_bytes() == artist.png(state, network)


@given(st.sets(st.integers(0, 99), min_size=1))
def test_layers_are_written_and_read(layers):
    assert parse_layers(format_layers(sorted(layers))) == tuple(sorted(layers))


@given(st.floats(-20, 20), st.integers(0, 15), st.sets(st.integers(0, 30)))
def test_edits_are_written_and_read(strength, index, layers):
    edit = Edit("sefa", index, strength, tuple(sorted(layers)))
    assert parse_edit(str(edit)) == edit


@pytest.mark.parametrize(
    "text",
    ["", "pca", "pca0", "pca16:1", "pca0:nan", "pca0:inf", "pca0:21", "pca0:1:", "pca0:1:a", "pca0:1:100", "w0:1",
     "pca0:1:0-6:7", "pca0:1e", "pca0:--1"],
)  # fmt: skip
def test_other_edits_are_refused(text):
    with pytest.raises(UserError, match=r"`(edit|layers)`="):
        parse_edit(text)


BAD = {
    "seed": [-1, 2**32, 1.5, "1", True, None, [1]], "psi": ["1", 11, None, True], "cutoff": [-1, 101, "all"],
    "noise": ["loud", 1, None], "noise_seed": [-1], "label": [1, None, "a" * 2001, "a\nb", "\ud800"], "mix": [-1, "7"],
    "vector": [[None], ["1"], 1, [0] * 501, [float("inf")]],
    "mix_layers": [[-1], [100], ["1"], 3, [1.5]], "of": [1, "a" * 41], "left": ["", "A" * 41, "ä", 3], "photo": ["é"],
    "edits": [[{}], [1], [{"kind": "pca", "index": 0, "strength": 99, "layers": []}], [{"kind": "x"}],
              [{"kind": "pca", "index": -1, "strength": 1, "layers": []}],
              [{"kind": "pca", "index": 0, "strength": 1, "layers": [-1]}],
              [{"kind": "pca", "index": 0, "strength": 1, "layers": [], "more": 1}],
              [{"kind": "pca", "index": 0, "strength": 1, "layers": []}] * 65],
    "other": [1],
}  # fmt: skip


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD.items() for value in values])
def test_presets_with_other_values_are_refused(key, value):
    with pytest.raises(UserError) as error:
        State.from_json({key: value})
    assert len(f"{error.value}".splitlines()) == 1


@pytest.mark.parametrize("text", ["{", "NaN", '{"psi": NaN}', '{"psi": 1e999}', "[" * 100_000, "1" * 5000, "[]", "3"])
def test_texts_that_are_no_state_are_refused(text):
    with pytest.raises(UserError):
        State.from_json(read_json(text))


@pytest.mark.parametrize(
    "query",
    ["seed", "seed=", "seed=-1", "seed=1&seed=2", "seed=99999999999", "seed=१", "psi=nan", "psi=inf", "psi=1_0x",
     "what=1", "edit=pca", "mix_layers=3-", "cutoff=1.0", "noise=", "left=", "&".join(["edit=pca0:1"] * 65),
     "label=%ff%0a", "x" * 20_000, "&".join(f"a{i}=1" for i in range(500))],
)  # fmt: skip
def test_addresses_with_other_values_are_refused(query):
    with pytest.raises(UserError) as error:
        State.from_query(query)
    assert len(f"{error.value}".splitlines()) == 1


def test_a_state_says_what_the_picture_is():
    state = State(seed=4, psi=0.5, label="dog", mix=7, mix_layers=(0, 1, 4), edits=(Edit("pca", 2, -1.5),) * 6)
    assert state.describe() == (
        "seed 4, class dog, layers 0-1,4 of seed 7, truncation 0.5, " + "pca 2 by -1.5, " * 4 + "2 more directions"
    )
    assert State(photo="ab", noise="none").describe() == "a projected photograph, no noise"
