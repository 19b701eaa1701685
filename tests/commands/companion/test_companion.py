"""A training with all that watches it: told on the phone, heard, alarmed about, and never in its way."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from commands.companion import companion
from commands.process.companion_process import has_pending_output
from files import REPOSITORY
from monitoring.journal.control_file import RequestFile
from smart_tuner.settings import Settings
from tests.commands.program import Program, journal, losses, start, summary, tiny, wait_for
from tests.monitoring.bot_api import CHAT, TOKEN, USER, BotApi
from tests.monitoring.journals import sick_run
from tests.warm_start import WarmProcess

SHORT: dict[str, Any] = {"epochs": 3, "iters_per_evaluation": 4, "iters_per_checkpoint": 2}
ENDLESS: dict[str, Any] = {"epochs": 100_000, "iters_per_evaluation": 500, "iters_per_checkpoint": 10}
NOBODY = "http://127.0.0.1:9"  # the port of discard


@pytest.fixture
def config(api: BotApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
    return write_config(tmp_path, api.base_url)


def write_config(folder: Path, base_url: str, mlflow: str = "mlflow: {enabled: false}") -> Path:
    path = folder / "config.yaml"
    path.write_text(
        f"telegram: {{enabled: true, chat_id: {CHAT}, allowed_users: [{USER}], base_url: '{base_url}',\n"
        f"  sample_minutes: 0.0001, messages_per_minute: 60}}\n{mlflow}\n"
    )
    return path


def start_accompanied(program: Program, data: Path, config: Path, **changes: Any) -> WarmProcess:
    options = ["--output", str(program.output), "--data", str(data), "--run_name", "run", "--config", str(config)]
    return start([*options, *tiny(**changes)])


def run_of(program: Program) -> Path:
    return program.output / "run"


def said(api: BotApi, text: str) -> list[str]:
    return [message for message in api.said() if text in message]


def paused(program: Program) -> None:
    """The training leaves the processor to its companion."""
    RequestFile(run_of(program)).append("pause", "user 7")


def children(process: WarmProcess, name: str) -> list[psutil.Process]:
    return [child for child in psutil.Process(process.pid).children() if name in " ".join(child.cmdline())]


def test_a_run_is_followed_on_the_phone(program: Program, data: Path, config: Path, api: BotApi) -> None:
    process = start_accompanied(program, data, config, **SHORT)
    out, err = process.communicate(timeout=180)
    assert (process.returncode, err) == (0, ""), out
    assert said(api, "Training has begun: run")
    assert said(api, "run: Finished")
    assert api.all("sendVoice") and (api.all("sendMediaGroup") or api.all("sendPhoto"))
    run = run_of(program)
    assert (run / "report.html").is_file() and list((run / "tensorboard").glob("events*"))
    assert all((run / sample).is_file() for sample in summary(run)["samples"])
    assert not list((run / "samples").glob("*.npz")) and not list(run.rglob("*.tmp"))
    for path in run.rglob("*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes(), path
    assert TOKEN not in out


def test_it_can_be_talked_to(program: Program, data: Path, config: Path, api: BotApi) -> None:
    process = start_accompanied(program, data, config, **ENDLESS)
    wait_for(lambda: (run_of(program) / "voice.safetensors").is_file(), process)
    paused(program)
    wait_for(lambda: api._is_polling, process)
    api.write("/status")
    wait_for(lambda: said(api, "Phase: pre-alignment"), process)
    voices = len(api.all("sendVoice"))
    api.write("/say good words")
    wait_for(lambda: [sent for sent in api.all("sendVoice")[voices:] if sent.text == "good words"], process)
    api.write("/set learning_rate_multiplier 0.5")
    wait_for(lambda: said(api, "learning-rate multiplier 1 → 0.5 (by a person)"), process)
    api.write("/resume")
    wait_for(lambda: said(api, "Done: resume"), process)
    api.write("/pause")
    wait_for(lambda: said(api, "Done: pause"), process)
    api.write("/stop")
    wait_for(lambda: said(api, "Really stop?"), process)
    assert process.poll() is None
    question = next(sent for sent in api.sent if sent.text.startswith("Really stop?"))
    api.press(question.parameters["reply_markup"].split('"callback_data": "')[1].split('"')[0])
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert journal(run_of(program), "intervention")[0]["by"] == "person"
    assert summary(run_of(program))["status"] == "interrupted"
    assert said(api, "Interrupted, saved")


def test_a_killed_training_is_told_and_goes_on(program: Program, data: Path, config: Path, api: BotApi) -> None:
    process = start_accompanied(program, data, config, **ENDLESS)
    run = run_of(program)
    wait_for(lambda: (run / "journal.jsonl").is_file() and len(journal(run, "checkpoint")) >= 2, process)
    paused(program)
    wait_for(lambda: said(api, "Training has begun"), process)
    (training,) = children(process, "train_enhanced.py")
    training.kill()
    wait_for(lambda: said(api, "Trouble: the training process died") and said(api, "Training goes on: run"), process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 143


def test_when_all_else_is_dead_the_companion_says_so(program: Program, data: Path, config: Path, api: BotApi) -> None:
    process = start_accompanied(program, data, config, **ENDLESS)
    wait_for(lambda: (run_of(program) / "journal.jsonl").is_file() and journal(run_of(program), "steps"), process)
    paused(program)
    wait_for(lambda: said(api, "Training has begun"), process)
    (shower,) = children(process, "commands.companion")
    process.kill()  # the training dies with its watchdog
    process.communicate()
    shower.wait(60)
    assert said(api, "The training is gone and has said nothing")


def test_nobody_to_tell_costs_not_a_single_step_and_what_was_not_sent_is_sent_later(
    program: Program, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: BotApi
) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
    undisturbed = program.trained(data, run="undisturbed", **SHORT)
    mlflow = f"mlflow: {{uri: '{NOBODY}'}}\nwebhook: {{url: '{NOBODY}/x'}}"
    config = write_config(tmp_path, f"{NOBODY}/bot", mlflow)
    process = start_accompanied(program, data, config, **SHORT)
    wait_for(lambda: (run_of(program) / "journal.jsonl").is_file() and journal(run_of(program), "finished"), process)
    _, err = process.communicate(timeout=180)
    assert process.returncode == 0 and "not all could be shown or sent" in err
    assert losses(run_of(program)) == losses(undisturbed)
    log = (run_of(program) / "companion" / "log.txt").read_text()
    assert "mlflow: http://127.0.0.1:9 cannot be reached" in log and "telegram: Telegram cannot be reached" in log
    assert "Traceback" not in log and TOKEN not in log
    # and when they are back, and a finished run is asked for again
    process = start_accompanied(program, data, write_config(tmp_path, api.base_url), **SHORT)
    out, err = process.communicate(timeout=180)
    assert (process.returncode, err) == (0, "") and "this run is finished" in " ".join(out.split())
    assert said(api, "run: Finished")


def test_who_does_not_want_to_wait_for_the_last_messages_presses_ctrl_c(
    program: Program, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
    options = ["--output", str(program.output), "--data", str(data), "--run_name", "run", "--watchdog", "off"]
    options += ["--config", str(write_config(tmp_path, f"{NOBODY}/bot"))]
    process = start([*options, *tiny(**SHORT)])
    wait_for(lambda: (run_of(program) / "journal.jsonl").is_file() and journal(run_of(program), "finished"), process)
    wait_for(lambda: summary(run_of(program))["status"] == "finished", process)
    err = pressing_ctrl_c(process)
    assert process.returncode == 0 and "goes on in the background" in err


def pressing_ctrl_c(process: WarmProcess) -> str:
    """As a person does: again when nothing happens, since a busy machine may not wait yet. Returns what it said."""
    for _ in range(60):
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        try:
            return process.communicate(timeout=0.7)[1]
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    raise AssertionError("Ctrl-C did not end it")


@pytest.mark.parametrize("watchdog", ["on", "off"])
def test_a_ctrl_c_after_the_last_word_changes_nothing(program: Program, data: Path, watchdog: str) -> None:
    options = ["--output", str(program.output), "--data", str(data), "--run_name", "run", "--watchdog", watchdog]
    process = start([*options, "--companion", "off", *tiny(**SHORT)])
    wait_for(lambda: (run_of(program) / "journal.jsonl").is_file() and journal(run_of(program), "finished"), process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


def test_a_bare_training_is_shown_later(program: Program, data: Path) -> None:
    run = program.trained(data, **SHORT)
    assert list((run / "samples").glob("*.npz")) and not (run / "report.html").exists()
    assert companion.main([str(run)]) == 0
    assert (run / "report.html").is_file() and not list((run / "samples").glob("*.npz"))
    assert (program.output / "mlflow.db").is_file()


def test_a_companion_that_dies_costs_the_training_nothing(program: Program, data: Path, config: Path) -> None:
    process = start_accompanied(program, data, config, **ENDLESS)
    run = run_of(program)
    wait_for(lambda: (run / "journal.jsonl").is_file() and journal(run, "steps"), process)
    wait_for(lambda: children(process, "commands.companion"), process)
    children(process, "commands.companion")[0].kill()
    before = len(journal(run, "steps"))
    wait_for(lambda: len(journal(run, "steps")) > before + 3, process)
    RequestFile(run).append("stop", "user 7")
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_two_companions_do_not_show_one_run_twice(program: Program, data: Path, config: Path, api: BotApi) -> None:
    run = program.trained(data, **SHORT)
    command = ["python", "-m", "commands.companion", str(run), "--config", str(config)]
    both = [subprocess.Popen(command, cwd=REPOSITORY, env=os.environ | {"OMP_NUM_THREADS": "1"}) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    assert len(said(api, "run: Finished")) == 1


def test_what_is_left_is_known_by_what_the_settings_want(tmp_path: Path) -> None:
    run = sick_run(tmp_path / "run").path
    (run / "companion").mkdir()
    length = (run / "journal.jsonl").stat().st_size
    only = {"tensorboard": False, "report": {"enabled": False}, "mlflow": {"enabled": False}}

    def is_left(**settings: Any) -> bool:
        return has_pending_output(run, Settings.model_validate({**only, **settings}))

    def keep(name: str, content: dict[str, Any]) -> None:
        (run / "companion" / f"{name}.json").write_text(json.dumps(content))

    assert is_left()
    keep("samples", {"offset": length, "state": {}})
    keep("order-place", {"offset": 0})
    keep("mlflow-of-a-store-no-longer-used", {"offset": 5, "state": {}})
    assert not is_left()
    for wanted in ({"tensorboard": True}, {"report": {"enabled": True}}, {"mlflow": {"enabled": True}}):
        assert is_left(**wanted)
    webhook = {"webhook": {"url": "https://example.org/hook"}}
    keep("webhook", {"offset": length, "state": {}})
    assert not is_left(**webhook)
    keep("webhook-outbox", {"waiting": [{}], "dropped": 0})
    assert is_left(**webhook) and not is_left()


@pytest.mark.parametrize("arguments", [["absent"], [".", "--config", "absent.yaml"]])
def test_what_is_no_run_is_refused(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert companion.main(arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_no_secret_gets_into_the_log() -> None:
    settings = Settings.model_validate(
        {
            **{"telegram": {"bot_token": TOKEN}, "webhook": {"url": "https://hooks.example/secret"}},
            "mlflow": {"uri": "http://u:geheim@h:5000"},
        }
    )
    try:
        raise ValueError(
            f"POST https://api.telegram.org/bot{TOKEN}/getMe, then https://hooks.example/secret, http://u:geheim@h:5000"
        )
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "x", 1, TOKEN, (), sys.exc_info())
    text = companion.WithoutSecrets(settings).format(record)
    assert (
        "geheim" not in text
        and TOKEN not in text
        and "hooks.example" not in text
        and "ValueError: POST https://api" in text
    )
