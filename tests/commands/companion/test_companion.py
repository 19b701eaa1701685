"""A training with its companion: messages, bot commands, reports; none of them delays or stops the training."""

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

from commands.companion.__main__ import main as companion_main
from commands.companion.companion import run_companion
from commands.companion.log import RedactingFormatter, Redactor
from commands.process.companion_process import has_pending_output
from files import REPOSITORY
from monitoring.journal.control_file import RequestFile
from monitoring.report.report import RunReport
from smart_tuner.settings import Settings
from tests.monitoring.bot_api import CHAT, TOKEN, USER, BotApi
from tests.monitoring.journals import sick_run
from tests.support.program import Program, journal, losses, start, summary, tiny, wait_for
from tests.support.warm_start import WarmProcess

SHORT: dict[str, Any] = {"epochs": 3, "iters_per_evaluation": 4, "iters_per_checkpoint": 2}
ENDLESS: dict[str, Any] = {"epochs": 100_000, "iters_per_evaluation": 500, "iters_per_checkpoint": 10}
NO_SERVER = "http://127.0.0.1:9"  # the discard port, where nothing answers


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


def start_with_companion(program: Program, data: Path, config: Path, **changes: Any) -> WarmProcess:
    options = ["--output", str(program.output), "--data", str(data), "--run_name", "run", "--config", str(config)]
    options += ["--warm_start", "none"]
    return start([*options, *tiny(**changes)])


def run_of(program: Program) -> Path:
    return program.output / "run"


def sent(api: BotApi, text: str) -> list[str]:
    return [message for message in api.sent_texts() if text in message]


def pause(program: Program) -> None:
    """Pause the training, so that its companion has the processor."""
    RequestFile(run_of(program)).append("pause", "user 7")


def children(process: WarmProcess, name: str) -> list[psutil.Process]:
    return [child for child in psutil.Process(process.pid).children() if name in " ".join(child.cmdline())]


def test_telegram_shows_a_run_and_pages_are_written(program: Program, data: Path, config: Path, api: BotApi) -> None:
    process = start_with_companion(program, data, config, **SHORT)
    out, err = process.communicate(timeout=180)
    assert (process.returncode, err) == (0, ""), out
    assert sent(api, "Training started: run")
    assert sent(api, "run: Finished")
    assert api.sent_by("sendVoice") and (api.sent_by("sendMediaGroup") or api.sent_by("sendPhoto"))
    run = run_of(program)
    assert (run / "report.html").is_file() and list((run / "tensorboard").glob("events*"))
    assert all((run / sample).is_file() for sample in summary(run)["samples"])
    assert not list((run / "samples").glob("*.npz")) and not list(run.rglob("*.tmp"))
    for path in run.rglob("*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes(), path
    assert TOKEN not in out


def test_the_bot_answers_commands(program: Program, data: Path, config: Path, api: BotApi) -> None:
    process = start_with_companion(program, data, config, **ENDLESS)
    wait_for(lambda: (run_of(program) / "voice.safetensors").is_file(), process)
    pause(program)
    wait_for(lambda: api.is_polling, process)
    api.receive_message("/status")
    wait_for(lambda: sent(api, "Phase: pre-alignment"), process)
    n_voices = len(api.sent_by("sendVoice"))
    api.receive_message("/say good words")
    wait_for(lambda: "good words" in [message.text for message in api.sent_by("sendVoice")[n_voices:]], process)
    api.receive_message("/set learning_rate_multiplier 0.5")
    wait_for(lambda: sent(api, "learning rate multiplier 1 → 0.5 (by a person)"), process)
    api.receive_message("/resume")
    wait_for(lambda: sent(api, "Done: resume"), process)
    api.receive_message("/pause")
    wait_for(lambda: sent(api, "Done: pause"), process)
    api.receive_message("/stop")
    wait_for(lambda: sent(api, "Really stop?"), process)
    assert process.poll() is None
    question = next(message for message in api.sent if message.text.startswith("Really stop?"))
    api.receive_press(question.parameters["reply_markup"].split('"callback_data": "')[1].split('"')[0])
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert journal(run_of(program), "intervention")[0]["by"] == "person"
    assert summary(run_of(program))["status"] == "interrupted"
    assert sent(api, "Interrupted and saved")


def test_a_killed_training_is_reported_and_restarted(program: Program, data: Path, config: Path, api: BotApi) -> None:
    process = start_with_companion(program, data, config, **ENDLESS)
    run = run_of(program)
    wait_for(lambda: (run / "journal.jsonl").is_file() and len(journal(run, "checkpoint")) >= 2, process)
    pause(program)
    wait_for(lambda: sent(api, "Training started"), process)
    (training,) = children(process, "train_enhanced.py")
    training.kill()
    wait_for(lambda: sent(api, "Problem: the training process ended unexpectedly"), process)
    wait_for(lambda: sent(api, "Training resumed: run"), process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 143


def test_the_companion_reports_a_lost_training(program: Program, data: Path, config: Path, api: BotApi) -> None:
    process = start_with_companion(program, data, config, **ENDLESS)
    wait_for(lambda: (run_of(program) / "journal.jsonl").is_file() and journal(run_of(program), "steps"), process)
    pause(program)
    wait_for(lambda: sent(api, "Training started"), process)
    (companion,) = children(process, "commands.companion")
    process.kill()  # the training dies with its watchdog
    process.communicate()
    companion.wait(60)
    assert sent(api, "The training ended without a report")


def test_unreachable_servers_do_not_delay_training_and_get_the_messages_later(
    program: Program, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: BotApi
) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
    undisturbed = program.trained(data, run="undisturbed", **SHORT)
    mlflow = f"mlflow: {{uri: '{NO_SERVER}'}}\nwebhook: {{url: '{NO_SERVER}/x'}}"
    config = write_config(tmp_path, f"{NO_SERVER}/bot", mlflow)
    process = start_with_companion(program, data, config, **SHORT)
    wait_for(lambda: (run_of(program) / "journal.jsonl").is_file() and journal(run_of(program), "finished"), process)
    _, err = process.communicate(timeout=180)
    assert process.returncode == 0 and "not everything could be shown or sent" in err
    assert losses(run_of(program)) == losses(undisturbed)
    log = (run_of(program) / "companion" / "log.txt").read_text()
    assert "mlflow: http://127.0.0.1:9 cannot be reached" in log and "telegram: Telegram cannot be reached" in log
    assert "Traceback" not in log and TOKEN not in log
    # The servers are back, and the same command is started for the finished run.
    process = start_with_companion(program, data, write_config(tmp_path, api.base_url), **SHORT)
    out, err = process.communicate(timeout=180)
    assert (process.returncode, err) == (0, "") and "this run is finished" in " ".join(out.split())
    assert sent(api, "run: Finished")


def test_ctrl_c_ends_the_wait_for_the_last_messages(
    program: Program, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
    options = ["--output", str(program.output), "--data", str(data), "--run_name", "run", "--watchdog", "off"]
    options += ["--warm_start", "none"]
    options += ["--config", str(write_config(tmp_path, f"{NO_SERVER}/bot"))]
    process = start([*options, *tiny(**SHORT)])
    wait_for(lambda: (run_of(program) / "journal.jsonl").is_file() and journal(run_of(program), "finished"), process)
    wait_for(lambda: summary(run_of(program))["status"] == "finished", process)
    err = interrupt_until_exit(process)
    assert process.returncode == 0 and "in the background" in err


def interrupt_until_exit(process: WarmProcess) -> str:
    """Send SIGINT repeatedly, since on a busy machine the process may not wait yet; return its standard error."""
    for _ in range(60):
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        try:
            return process.communicate(timeout=0.7)[1]
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    raise AssertionError("Ctrl-C did not end the process")


@pytest.mark.parametrize("watchdog", ["on", "off"])
def test_ctrl_c_after_the_end_of_training_changes_nothing(program: Program, data: Path, watchdog: str) -> None:
    options = ["--output", str(program.output), "--data", str(data), "--run_name", "run", "--watchdog", watchdog]
    options += ["--warm_start", "none"]
    process = start([*options, "--companion", "off", *tiny(**SHORT)])
    wait_for(lambda: (run_of(program) / "journal.jsonl").is_file() and journal(run_of(program), "finished"), process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


def test_a_run_without_companion_can_be_shown_later(program: Program, data: Path) -> None:
    run = program.trained(data, **SHORT)
    assert list((run / "samples").glob("*.npz")) and not (run / "report.html").exists()
    assert companion_main([str(run)]) == 0
    assert (run / "report.html").is_file() and not list((run / "samples").glob("*.npz"))
    assert (program.output / "mlflow.db").is_file()


def test_a_training_continues_without_its_killed_companion(program: Program, data: Path, config: Path) -> None:
    process = start_with_companion(program, data, config, **ENDLESS)
    run = run_of(program)
    wait_for(lambda: (run / "journal.jsonl").is_file() and journal(run, "steps"), process)
    wait_for(lambda: children(process, "commands.companion"), process)
    children(process, "commands.companion")[0].kill()
    before = len(journal(run, "steps"))
    wait_for(lambda: len(journal(run, "steps")) > before + 3, process)
    RequestFile(run).append("stop", "user 7")
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_two_companions_send_each_message_once(program: Program, data: Path, config: Path, api: BotApi) -> None:
    run = program.trained(data, **SHORT)
    command = [sys.executable, "-m", "commands.companion", str(run), "--config", str(config)]
    both = [subprocess.Popen(command, cwd=REPOSITORY, env=os.environ | {"OMP_NUM_THREADS": "1"}) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    assert len(sent(api, "run: Finished")) == 1


def test_pending_output_depends_on_the_enabled_channels(tmp_path: Path) -> None:
    run = sick_run(tmp_path / "run").path
    (run / "companion").mkdir()
    length = (run / "journal.jsonl").stat().st_size
    only = {"tensorboard": False, "report": {"enabled": False}, "mlflow": {"enabled": False}}

    def is_pending(**settings: Any) -> bool:
        return has_pending_output(run, Settings.model_validate({**only, **settings}))

    def save_state(name: str, content: dict[str, Any]) -> None:
        (run / "companion" / f"{name}.json").write_text(json.dumps(content))

    assert is_pending()
    save_state("samples", {"offset": length, "state": {}})
    save_state("order-place", {"offset": 0})
    save_state("mlflow-of-another-store", {"offset": 5, "state": {}})
    assert not is_pending()
    for wanted in ({"tensorboard": True}, {"report": {"enabled": True}}, {"mlflow": {"enabled": True}}):
        assert is_pending(**wanted)
    webhook = {"webhook": {"url": "https://example.org/hook"}}
    save_state("webhook", {"offset": length, "state": {}})
    assert not is_pending(**webhook)
    save_state("webhook-outbox", {"waiting": [{}], "dropped": 0})
    assert is_pending(**webhook) and not is_pending()


@pytest.mark.parametrize("arguments", [["absent"], [".", "--config", "absent.yaml"]])
def test_a_folder_that_is_no_run_is_refused(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert companion_main(arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_secrets_are_removed_from_the_log() -> None:
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
    text = RedactingFormatter(Redactor(settings)).format(record)
    assert (
        "geheim" not in text
        and TOKEN not in text
        and "hooks.example" not in text
        and "ValueError: POST https://api" in text
    )


@pytest.mark.parametrize("uri", ["https://geheim@host:5000/", "https://u:geheim@host/", "https://host/?key=geheim"])
def test_credentials_of_an_mlflow_server_are_removed(uri: str) -> None:
    redact = Redactor(Settings.model_validate({"mlflow": {"uri": uri}}))
    assert "geheim" not in redact(f"no answer from {uri}; geheim was refused")


def test_secrets_are_removed_from_notes_to_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = sick_run(tmp_path / "run").path
    settings = Settings.model_validate({"mlflow": {"enabled": False, "uri": "http://u:ge%20heim@127.0.0.1:9"}})
    flush = RunReport.flush

    def fail_once(report: RunReport) -> None:
        monkeypatch.setattr(RunReport, "flush", flush)
        raise OSError(f"no answer from {settings.mlflow.uri} with the password 'ge heim'")

    monkeypatch.setattr(RunReport, "flush", fail_once)
    assert run_companion(run, settings, follow=False) == 0
    notes = (run / "companion" / "orders.jsonl").read_text(encoding="utf-8")
    assert "no answer from" in notes and "heim" not in notes
