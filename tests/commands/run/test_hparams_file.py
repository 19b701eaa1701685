from __future__ import annotations

from pathlib import Path

import pytest

import train_enhanced
from commands.options import TrainOptions
from commands.run.job import build_recipe, preset_name
from hparams import UserError
from recipes.tacotron2 import DEMO, SMALL
from smart_tuner.settings import Settings


def options(*arguments: str) -> TrainOptions:
    return train_enhanced.parse_options(arguments)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "best.yaml"
    path.write_text("preset: small\nlearning_rate: 0.004\nbatch_size: 12\n", encoding="utf-8")
    return path


def test_values_of_the_file_override_its_preset_and_options_override_both(file: Path) -> None:
    given = build_recipe(options("--hparams_file", str(file), "--batch_size", "6"), Settings())
    assert (given.learning_rate, given.batch_size) == (0.004, 6)
    assert given.decoder_rnn_dim == SMALL["decoder_rnn_dim"]


def test_a_preset_option_replaces_the_preset_of_the_file(file: Path) -> None:
    given = build_recipe(options("--hparams_file", str(file), "--preset", "demo"), Settings())
    assert (given.learning_rate, given.decoder_rnn_dim) == (0.004, DEMO["decoder_rnn_dim"])


def test_without_a_preset_the_corpus_decides(tmp_path: Path) -> None:
    (tmp_path / "some.yaml").write_text("learning_rate: 0.004\n")
    assert preset_name(options("--hparams_file", str(tmp_path / "some.yaml"))) == "demo"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- 1", "expected 'name: value' lines, found list"),
        (b"", "expected 'name: value' lines, found NoneType"),
        (b"1: 2", "expected 'name: value' lines"),
        (b"a: [", "is not valid YAML"),
        (b"\xff\xfe\x00", "is not valid YAML"),
        (b"preset: huge", "preset 'huge': expected one of full, small, demo, tiny"),
        (b"learning_rat: 1", "there is no 'learning_rat', the nearest is 'learning_rate'"),
        (b"learning_rate: -1", "learning_rate=-1"),
        (b"!!python/object/apply:os.getcwd []", "is not valid YAML"),
    ],
)
def test_an_unusable_file_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "best.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        build_recipe(options("--hparams_file", str(path)), Settings())
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="absent.yaml: cannot be read"):
        build_recipe(options("--hparams_file", str(tmp_path / "absent.yaml")), Settings())
