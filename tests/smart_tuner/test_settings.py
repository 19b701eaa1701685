from __future__ import annotations

import traceback
from pathlib import Path

import pytest
import yaml

from hparams import UserError
from smart_tuner.settings import DEFAULT_CONFIG, Settings, load_settings


def test_the_default_file_contains_every_setting_with_its_default() -> None:
    text = yaml.safe_load(DEFAULT_CONFIG.read_text(encoding="utf-8"))
    assert text == Settings().model_dump(mode="json")
    assert load_settings(DEFAULT_CONFIG) == Settings()


def test_a_file_may_contain_only_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("hparams: {batch_size: 4}\n", encoding="utf-8")
    assert load_settings(path) == Settings(hparams={"batch_size": 4})
    path.write_text("", encoding="utf-8")
    assert load_settings(path) == Settings()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"tensorboard: perhaps", "tensorboard: "),
        (b"no_such_setting: 1", "no_such_setting: .*shows every setting"),
        (b"progress_every_seconds: 0", "progress_every_seconds: "),
        (b"hparams: [1]", "hparams: "),
        (b"- a list", "expected 'name: value' lines, found list"),
        (b"just words", "expected 'name: value' lines, found str"),
        (b"a: [1", "is not valid YAML"),
        (b"1: 2", "--config"),
        (b"!!python/object/apply:os.getcwd []", "is not valid YAML"),
        ("tensorboard: да".encode("cp1251"), "is not UTF-8 text"),
        (b"a: \x00", "is not valid YAML"),
    ],
)
def test_a_broken_file_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        load_settings(path)
    assert "\n" not in str(caught.value) and "broken.yaml" in str(caught.value)


def test_all_errors_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(
        "quality_control: {gate_accuracy_target: 7, speed: 1}\n"
        "phases: {quality: {latest_epoch: soon}, pre_alignment: 3}\n"
        "supervision: {largest_step_factor: 4}\nnonsense: 1\n",
        encoding="utf-8",
    )
    with pytest.raises(UserError) as caught:
        load_settings(path)
    for where in (
        *("quality_control.gate_accuracy_target: ", "quality_control.speed: ", "phases.quality.latest_epoch: "),
        *("phases.pre_alignment: ", "supervision.largest_step_factor: ", "nonsense: "),
    ):
        assert where in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            load_settings(path)


TOKEN = "123456:AAE-secret"


@pytest.mark.parametrize(
    "content",
    [
        f"telegram: {{enabled: true, bot_token: '{TOKEN}'}}",
        f"telegram: {{bot_token: ['{TOKEN}']}}",
        f"telegram: {{bot_token: '{TOKEN}', languages: en}}",
        f"telegram: {{bot_token: '{TOKEN}",
        f"telegram:\n  bot_token: {TOKEN}: x",
        f"webhook: {{url: 'http://x/{TOKEN}', x: 1}}",
    ],
)
def test_errors_near_a_token_do_not_contain_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_settings(path)
    text = "".join(traceback.format_exception(caught.value))
    assert "AAE-secret" not in text and "config.yaml" in text


def test_settings_do_not_contain_a_token_as_text(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"telegram: {{enabled: true, chat_id: 5, bot_token: '{TOKEN}'}}", encoding="utf-8")
    settings = load_settings(path)
    assert settings.telegram.token == TOKEN
    assert "AAE-secret" not in repr(settings) + str(settings.model_dump()) + settings.model_dump_json()
