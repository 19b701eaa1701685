"""--mode test prints one line for each component; a problem is named, and the exit code is 1."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from commands.options import TrainOptions
from commands.self_test import CheckContext, CheckFailed, _check_mlflow, _check_telegram, _check_webhook
from tests.monitoring.bot_api import CHAT, TOKEN, BotApi
from tests.monitoring.messaging.test_webhook import WebhookServer
from tests.support.program import PROGRAM, Program


def test_all_components_work(tmp_path: Path) -> None:
    arguments = ["--mode", "test", "--output", str(tmp_path), "--device", "cpu"]
    done = subprocess.run([sys.executable, str(PROGRAM), *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok"] * 12


def test_problems_are_named_and_the_exit_code_is_1(program: Program, tmp_path: Path) -> None:
    outcome = program("--mode", "test", "--config", tmp_path / "absent.yaml", "--language", "klingonese")
    assert outcome.code == 1
    verdicts = {line.split()[1]: line.split()[0] for line in outcome.out.splitlines()}
    assert verdicts["settings"] == verdicts["espeak"] == "wrong"
    assert verdicts["output"] == verdicts["device"] == "ok"
    assert "absent.yaml" in outcome.out and "klingonese" in outcome.out


def result(check: Callable[[CheckContext], str], folder: Path, config: str, mlflow_uri: str | None = None) -> str:
    """Run a check with this content of the settings file."""
    path = folder / "config.yaml"
    path.write_text(config, encoding="utf-8")
    return check(CheckContext(TrainOptions(config=path, mlflow_uri=mlflow_uri), folder))


def telegram(api: BotApi, **changes: object) -> str:
    values = {"enabled": True, "chat_id": CHAT, "bot_token": f"'{TOKEN}'", "base_url": f"'{api.base_url}'"} | changes
    return f"telegram: {{{', '.join(f'{name}: {value}' for name, value in values.items())}}}"


def test_a_test_message_is_sent_and_the_allowed_users_are_listed(api: BotApi, tmp_path: Path) -> None:
    assert result(_check_telegram, tmp_path, telegram(api)) == (
        f"a message was sent to chat {CHAT}; the bot answers nobody (allowed_users)"
    )
    settings = telegram(api, allowed_users="[7, 8]", language="ru")
    assert "the bot answers 7, 8" in result(_check_telegram, tmp_path, settings)
    assert api.sent_texts() == ["Smart Tuner can reach you", "Smart Tuner может вам писать"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"bot_token": "'1:wrong'"}, r"the token is refused \(401\)"),
        ({"chat_id": 5}, "Chat not found: is chat_id 5 right"),
        ({"base_url": "'http://127.0.0.1:9/bot'"}, "Telegram cannot be reached"),
    ],
)
def test_problems_with_telegram_are_named_without_the_token(
    api: BotApi, tmp_path: Path, changes: dict[str, object], problem: str
) -> None:
    with pytest.raises(CheckFailed, match=problem) as error:
        result(_check_telegram, tmp_path, telegram(api, **changes))
    assert TOKEN not in str(error.value)


def test_a_disabled_component_is_reported_as_off(tmp_path: Path) -> None:
    assert result(_check_telegram, tmp_path, "").startswith("off")
    assert result(_check_webhook, tmp_path, "").startswith("off")
    assert result(_check_mlflow, tmp_path, "mlflow: {enabled: false}").startswith("off")
    assert result(_check_mlflow, tmp_path, "") == "a file beside the runs"


def test_a_message_is_sent_to_the_webhook(tmp_path: Path) -> None:
    server = WebhookServer()
    assert result(_check_webhook, tmp_path, f"webhook: {{url: '{server.url}'}}") == "a message was accepted"
    server.codes.append(500)
    with pytest.raises(CheckFailed, match="answers 500"):
        result(_check_webhook, tmp_path, f"webhook: {{url: '{server.url}'}}")
    server.close()


def test_an_unreachable_mlflow_server_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(OSError, match="http://127.0.0.1:9 cannot be reached"):
        result(_check_mlflow, tmp_path, "", mlflow_uri="http://127.0.0.1:9")


def test_a_server_that_is_not_mlflow_is_named(tmp_path: Path) -> None:
    server = WebhookServer()
    server.codes += [404] * 10
    with pytest.raises(ValueError, match=r"http://127.0.0.1:\d+/secret-path answers"):
        result(_check_mlflow, tmp_path, "", mlflow_uri=server.url)
    server.close()
