"""--mode test: try every component, about a minute in all; print one line each: ok, or the problem and its remedy."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from commands.console import open_console
from commands.options import TrainOptions
from commands.run.job import choose_device
from commands.run.run_folder import make_writable
from corpus.demo import demo_corpus as demo
from corpus.text import espeak
from files import REPOSITORY
from hparams import UserError
from monitoring.journal.summary import read_summary
from monitoring.language import LANGUAGES
from monitoring.messaging.message import Message, Priority
from monitoring.messaging.sender import MessageRejected, MessageTransport, RateLimited, ServerUnreachable
from monitoring.messaging.webhook import WebhookClient
from smart_tuner.settings import load_settings

PROGRAM = REPOSITORY / "train_enhanced.py"
STEPS = 20
UTTERANCES = 64


class CheckFailed(Exception):
    """A component does not work; the message says what to do."""


@dataclass(frozen=True)
class CheckContext:
    """Options of the person, and a temporary folder for a small corpus and its run."""

    options: TrainOptions
    folder: Path

    @property
    def language(self) -> str:
        return str(self.options.language or "en-us")

    @property
    def run(self) -> Path:
        return self.folder / "test"

    def program(self, mode: str, *arguments: str) -> str:
        """Run the program in a process of its own; return its standard output."""
        common = ["--mode", mode, "--output", str(self.folder), "--device", self.options.device, "--watchdog", "off"]
        done = subprocess.run(
            [sys.executable, str(PROGRAM), *common, *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            last_lines = (done.stderr or done.stdout).strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise CheckFailed(last_lines[0])
        return done.stdout


def run(options: TrainOptions) -> int:
    console = open_console()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        context = CheckContext(options, Path(folder))
        for name, check in CHECKS.items():
            try:
                console.print(f"ok     {name:<11} {check(context)}")
            except (CheckFailed, UserError, OSError, ImportError, RuntimeError, ValueError) as error:
                console.print(f"wrong  {name:<11} {' '.join(str(error).split())}")
                failed += 1
    return 1 if failed else 0


def _check_settings(context: CheckContext) -> str:
    load_settings(context.options.config)
    return str(context.options.config)


def _check_output(context: CheckContext) -> str:
    make_writable(context.options.output)
    return f"{context.options.output} can be written"


def _check_device(context: CheckContext) -> str:
    import torch

    device = choose_device(context.options.device)
    product = torch.ones(64, 64, device=device) @ torch.ones(64, 64, device=device)
    if float(product.sum()) != 64.0**3:
        raise CheckFailed(f"{device}: the product of two matrices is wrong; try --device cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    return f"torch {torch.__version__}, {name}"


def _check_espeak(context: CheckContext) -> str:
    speech = espeak.synthesize("One, two, three.", context.language)
    return f"{context.language}: {len(speech.audio) / speech.sampling_rate:.1f} s, {len(speech.phones)} phones"


def _small_corpus(context: CheckContext) -> list[str]:
    folder = demo.make_demo_corpus(context.folder / ".cache", context.language, UTTERANCES)
    return ["--data", str(folder), "--data_format", "filelist", "--language", context.language, "--preset", "demo"]


def _check_corpus(context: CheckContext) -> str:
    return context.program("check", *_small_corpus(context)).splitlines()[0]


def _check_training(context: CheckContext) -> str:
    common = [*_small_corpus(context), "--run_name", "test"]
    context.program("train", *common, "--max_steps", str(STEPS // 2), "--companion", "off", "--warm_start", "none")
    context.program("train", *common, "--max_steps", str(STEPS))  # resumes; its companion writes the report and samples
    summary = read_summary(context.run)
    if summary["step"] != STEPS:
        raise CheckFailed(f"expected step {STEPS} after resuming, got {summary['step']}")
    return f"{STEPS} steps, saved and resumed; total_loss {summary['signals']['total_loss']:.2f}"


def _check_evaluation(context: CheckContext) -> str:
    result = json.loads(context.program("validate", "--run", str(context.run), "--json"))
    pictures = list((context.run / "samples").glob("*.png"))
    events = list((context.run / "tensorboard").glob("events*"))
    if not pictures or not events:
        raise CheckFailed(f"expected pictures and TensorBoard files in {context.run}")
    return f"{result['utterances']} held-out utterances, {len(pictures)} pictures, {len(events)} TensorBoard files"


def _check_synthesis(context: CheckContext) -> str:
    wave = context.folder / "test.wav"
    context.program("synthesize", "--run", str(context.run), "--text", "One, two.", "--out", str(wave))
    return f"{wave.stat().st_size / 1e3:.0f} kB of sound"


def _check_report(context: CheckContext) -> str:
    page = context.run / "report.html"
    if not page.is_file():
        raise CheckFailed(f"expected a report in {context.run}")
    return f"{page.stat().st_size / 1e3:.0f} kB"


def _check_mlflow(context: CheckContext) -> str:
    settings = load_settings(context.options.config, mlflow_uri=context.options.mlflow_uri).mlflow
    if not settings.enabled:
        return "off (mlflow.enabled in the settings)"
    if settings.uri is None:
        return "a file beside the runs"
    from monitoring.exporters.mlflow_store import count_experiments

    return f"the server answers, {count_experiments(settings.uri)} experiments"


def _check_telegram(context: CheckContext) -> str:
    settings = load_settings(context.options.config).telegram
    if not settings.enabled:
        return "off (telegram.enabled in the settings)"
    from monitoring.messaging.telegram import TelegramClient

    client = TelegramClient(settings)
    try:
        _send_test_message(client, LANGUAGES[settings.language].text("test_message"))
    finally:
        client.close()
    users = ", ".join(map(str, settings.allowed_users)) or "nobody"
    return f"a message was sent to chat {settings.chat_id}; the bot answers {users} (allowed_users)"


def _check_webhook(context: CheckContext) -> str:
    settings = load_settings(context.options.config)
    if settings.webhook.url is None:
        return "off (webhook.url in the settings)"
    client = WebhookClient(settings.webhook.url.get_secret_value(), "test")
    _send_test_message(client, LANGUAGES[settings.telegram.language].text("test_message"))
    return "a message was accepted"


def _send_test_message(client: MessageTransport, title: str) -> None:
    try:
        for parcel in client.build_requests(Message("test", Priority.ANSWER, title)):
            client.send(parcel)
    except (ServerUnreachable, MessageRejected, RateLimited) as error:
        raise CheckFailed(str(error)) from error


CHECKS: dict[str, Callable[[CheckContext], str]] = {
    "settings": _check_settings,
    "output": _check_output,
    "device": _check_device,
    "espeak": _check_espeak,
    "corpus": _check_corpus,
    "training": _check_training,
    "evaluation": _check_evaluation,
    "report": _check_report,
    "speaking": _check_synthesis,
    "mlflow": _check_mlflow,
    "telegram": _check_telegram,
    "webhook": _check_webhook,
}
