"""One table of options: the command line, its help, the page in the docs, presets and configuration follow from it."""

import dataclasses

import click
import pytest

from dnnlib import UserError
from dnnlib.options import options_of
from rooted_stylegan import train
from training.augment import AUGPIPES, build_pipe
from training.config import TrainingConfig
from training.config.resolve import resolve
from training.config.schema import AugmentOptions
from training.options import DEFAULTS, TrainingOptions
from training.options.document import PAGE, with_tables
from training.options.presets import PRESETS

OPTIONS = options_of(TrainingOptions)


def test_what_is_not_given_is_none():
    assert train.main.make_context("train.py", []).params == dict.fromkeys(OPTIONS)


def test_the_page_in_the_docs_is_up_to_date():
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_tables(page), "run python -m training.options.document"


@pytest.mark.parametrize(
    ("flags", "value"),
    [([], None), (["--cuda-graphs"], True), (["--cuda-graphs=1"], True), (["--cuda-graphs=True"], True),
     (["--cuda-graphs", "--mirror"], True), (["--cuda-graphs=no"], False), (["--cuda-graphs=auto"], "auto")],
)  # fmt: skip
def test_whether_there_are_graphs_is_yes_no_or_auto(flags, value):
    assert train.main.make_context("train.py", flags).params["cuda_graphs"] is value


def test_another_word_about_graphs_is_refused(capsys):
    with pytest.raises(SystemExit):
        train.main.make_context("train.py", ["--cuda-graphs=some"])
    assert "--cuda-graphs" in capsys.readouterr().err


def test_presets_give_what_the_command_line_takes():
    context = click.Context(train.main)
    for preset in PRESETS.values():
        for name, value in preset.options.items():
            entry = OPTIONS[name]
            kind = click.BOOL if entry.type is bool else entry.type
            assert kind.convert(value, None, context) == value
        assert TrainingOptions(**preset.options).given() == preset.options


def test_the_names_of_augmentations_are_those_that_there_are():
    assert OPTIONS["augpipe"].choices == (*AUGPIPES, "diffaug")
    for name in OPTIONS["augpipe"].choices:
        build_pipe(name)


@pytest.mark.parametrize("name", [name for name, entry in OPTIONS.items() if entry.choices])
def test_a_word_that_is_no_choice_is_refused_as_a_library_too(name):
    with pytest.raises(UserError, match=f"`{name}`=nonsense is unknown; choose one of"):
        TrainingOptions(**{name: "nonsense"})


def test_what_is_given_goes_before_the_preset_and_that_before_the_default():
    chosen = TrainingOptions(preset="few-shot", snap=7, metrics=()).with_defaults()
    assert (chosen.snap, chosen.metrics) == (7, ())
    assert chosen.p_max == 0.8
    assert chosen.target == OPTIONS["target"].default


def test_the_configuration_has_the_defaults_of_the_options():
    config, _ = resolve(TrainingOptions(device="cpu", metrics=()), gpus=1)
    assert config.augment_kwargs == AugmentOptions()
    assert config.kimg_per_tick == DEFAULTS.tick
    defaults = {f.name: f.default for f in dataclasses.fields(TrainingConfig) if f.default is not dataclasses.MISSING}
    assert config.network_snapshot_ticks == defaults["network_snapshot_ticks"] == DEFAULTS.snap
