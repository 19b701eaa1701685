"""Command line → TrainOptions."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from commands.options import TrainOptions
from hparams import UserError
from smart_tuner.settings import DEFAULT_CONFIG
from train_enhanced import build_parser, main, parse_options


def test_every_option_of_the_parser_is_a_field_and_the_other_way_round() -> None:
    parsed = {action.dest for action in build_parser()._actions}
    assert parsed - {"help", "version"} == {field.name for field in fields(TrainOptions)} - {"arguments"}


def test_an_empty_command_line_gives_the_defaults() -> None:
    assert parse_options([]) == TrainOptions()
    assert TrainOptions().config == DEFAULT_CONFIG


def test_values_are_typed_and_the_arguments_are_kept_as_given() -> None:
    given = ("--epochs", "3", "--learning_rate", "1e-3", "--batch_frames", "auto", "--out", "x.wav", "--quiet")
    options = parse_options(given)
    assert (options.epochs, options.learning_rate, options.batch_frames) == (3, 1e-3, "auto")
    assert (options.out, options.quiet, options.arguments) == (Path("x.wav"), True, given)
    assert parse_options(["--batch_frames", "4000"]).batch_frames == 4000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("--max_minutes", "0"), ("--max_minutes", "nan"), ("--max_steps", "0")),
        *(("--run_name", "../escape"), ("--run_name", ".hidden"), ("--run_name", "two words")),
    ],
)
@pytest.mark.parametrize("mode", ["train", "tune"])
def test_a_limit_or_run_name_that_cannot_be_is_refused(mode: str, name: str, value: str) -> None:
    with pytest.raises(UserError, match=f"^{name} '?{re.escape(value)}'?: expected"):
        parse_options(["--mode", mode, name, value])


@pytest.mark.parametrize("given", [("--epochs", "2.5"), ("--batch_frames", "many"), ("--seed", "x"), ("--model",)])
def test_a_value_of_the_wrong_type_is_refused_with_the_name_of_the_option(given: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=f"{given[0]}.*--help lists every option"):
        parse_options(given)


def test_the_version_is_that_of_the_project(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert re.fullmatch(r"Smart Tuner \d+\.\d+\.\d+\n", capsys.readouterr().out)
