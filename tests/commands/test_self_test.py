"""--mode test: a line a component; what is wrong is named and ends with exit 1."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from commands.options import TrainOptions
from commands.self_test import Bench, Wrong, _mlflow, _telegram, _webhook
from tests.commands.program import PROGRAM, Program
from tests.monitoring.bot_api import CHAT, TOKEN, BotApi
from tests.monitoring.messaging.test_webhook import Hook


def test_all_components_work_here(tmp_path: Path) -> None:
    arguments = ["--mode", "test", "--output", str(tmp_path), "--device", "cpu"]
    done = subprocess.run([sys.executable, str(PROGRAM), *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok"] * 12


def test_what_is_wrong_is_named(program: Program, tmp_path: Path) -> None:
    outcome = program("--mode", "test", "--config", tmp_path / "absent.yaml", "--language", "klingonese")
    assert outcome.code == 1
    verdicts = {line.split()[1]: line.split()[0] for line in outcome.out.splitlines()}
    assert verdicts["settings"] == verdicts["espeak"] == "wrong"
    assert verdicts["output"] == verdicts["device"] == "ok"
    assert "absent.yaml" in outcome.out and "klingonese" in outcome.out


def tried(component: Callable[[Bench], str], folder: Path, config: str, mlflow_uri: str | None = None) -> str:
    """What a component says of a configuration."""
    path = folder / "config.yaml"
    path.write_text(config, encoding="utf-8")
    return component(Bench(TrainOptions(config=path, mlflow_uri=mlflow_uri), folder))


def telegram(api: BotApi, **changes: object) -> str:
    values = {"enabled": True, "chat_id": CHAT, "bot_token": f"'{TOKEN}'", "base_url": f"'{api.base_url}'"} | changes
    return f"telegram: {{{', '.join(f'{name}: {value}' for name, value in values.items())}}}"


def test_a_test_message_comes_and_it_says_who_is_heard(api: BotApi, tmp_path: Path) -> None:
    assert tried(_telegram, tmp_path, telegram(api)) == (
        f"a message was sent to chat {CHAT}; nobody is heard (allowed_users)"
    )
    assert "heard: 7, 8" in tried(_telegram, tmp_path, telegram(api, allowed_users="[7, 8]", language="ru"))
    assert api.said() == ["Smart Tuner can reach you", "Smart Tuner может вам писать"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bot_token": "'1:wrong'"}, r"the token is refused \(401\)"),
        ({"chat_id": 5}, "Chat not found: is chat_id 5 right"),
        ({"base_url": "'http://127.0.0.1:9/bot'"}, "Telegram cannot be reached"),
    ],
)
def test_what_is_wrong_with_telegram_is_said(
    api: BotApi, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(Wrong, match=said) as error:
        tried(_telegram, tmp_path, telegram(api, **changes))
    assert TOKEN not in str(error.value)


def test_what_is_off_is_said_to_be_off(tmp_path: Path) -> None:
    assert tried(_telegram, tmp_path, "").startswith("off")
    assert tried(_webhook, tmp_path, "").startswith("off")
    assert tried(_mlflow, tmp_path, "mlflow: {enabled: false}").startswith("off")
    assert tried(_mlflow, tmp_path, "") == "a file beside the runs"


def test_a_webhook_is_tried(tmp_path: Path) -> None:
    hook = Hook()
    assert tried(_webhook, tmp_path, f"webhook: {{url: '{hook.url}'}}") == "a message was taken"
    hook.codes.append(500)
    with pytest.raises(Wrong, match="answers 500"):
        tried(_webhook, tmp_path, f"webhook: {{url: '{hook.url}'}}")
    hook.close()


def test_an_mlflow_server_out_of_reach_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(OSError, match="http://127.0.0.1:9 cannot be reached"):
        tried(_mlflow, tmp_path, "", mlflow_uri="http://127.0.0.1:9")


def test_what_is_no_mlflow_server_is_said(tmp_path: Path) -> None:
    hook = Hook()
    hook.codes += [404] * 10
    with pytest.raises(ValueError, match=r"http://127.0.0.1:\d+/secret-path answers"):
        tried(_mlflow, tmp_path, "", mlflow_uri=hook.url)
    hook.close()
