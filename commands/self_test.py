"""--mode test: every component for about a minute; a line each, ok or what is wrong and what to do."""

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
from commands.run.recipe import choose_device
from commands.run.run_folder import make_writable
from corpus.demo import demo_corpus as demo
from corpus.text import espeak
from files import REPOSITORY
from hparams import UserError
from monitoring.language.base import words_of
from monitoring.messaging.message import Importance, Message
from monitoring.messaging.sender import Door, Flooded, Undeliverable, Unreachable
from monitoring.messaging.webhook import WebhookDoor
from smart_tuner.settings import load_settings

PROGRAM = REPOSITORY / "train_enhanced.py"
STEPS = 20
UTTERANCES = 64


class Wrong(Exception):
    """A component does not work; the message says what to do."""


@dataclass(frozen=True)
class Bench:
    """Where the components are tried: what the person asked for, on a small corpus in a temporary folder."""

    options: TrainOptions
    folder: Path

    @property
    def language(self) -> str:
        return str(self.options.language or "en-us")

    @property
    def run(self) -> Path:
        return self.folder / "test"

    def program(self, mode: str, *arguments: str) -> str:
        """Run the program itself as a person would; returns what it printed."""
        common = ["--mode", mode, "--output", str(self.folder), "--device", self.options.device, "--watchdog", "off"]
        done = subprocess.run(
            [sys.executable, str(PROGRAM), *common, *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            last = (done.stderr or done.stdout).strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise Wrong(last[0])
        return done.stdout


def run(options: TrainOptions) -> int:
    console = open_console()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, component in COMPONENTS.items():
            try:
                console.print(f"ok     {name:<11} {component(Bench(options, Path(folder)))}")
            except (Wrong, UserError, OSError, ImportError, RuntimeError, ValueError) as error:
                console.print(f"wrong  {name:<11} {' '.join(str(error).split())}")
                failed += 1
    return 1 if failed else 0


def _settings(bench: Bench) -> str:
    load_settings(bench.options.config)
    return str(bench.options.config)


def _output(bench: Bench) -> str:
    make_writable(bench.options.output)
    return f"{bench.options.output} can be written"


def _device(bench: Bench) -> str:
    import torch

    device = choose_device(bench.options.device)
    product = torch.ones(64, 64, device=device) @ torch.ones(64, 64, device=device)
    if float(product.sum()) != 64.0**3:
        raise Wrong(f"{device}: a product of two matrices came out wrong; try --device cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    return f"torch {torch.__version__}, {name}"


def _espeak(bench: Bench) -> str:
    speech = espeak.synthesize("One, two, three.", bench.language)
    return f"{bench.language}: {len(speech.audio) / speech.sampling_rate:.1f} s, {len(speech.phones)} phones"


def _small_corpus(bench: Bench) -> list[str]:
    folder = demo.make_demo_corpus(bench.folder / ".cache", bench.language, UTTERANCES)
    return ["--data", str(folder), "--data_format", "filelist", "--language", bench.language, "--preset", "demo"]


def _corpus(bench: Bench) -> str:
    return bench.program("check", *_small_corpus(bench)).splitlines()[0]


def _training(bench: Bench) -> str:
    common = [*_small_corpus(bench), "--run_name", "test"]
    bench.program("train", *common, "--max_steps", str(STEPS // 2), "--companion", "off")
    bench.program("train", *common, "--max_steps", str(STEPS))  # it resumes, and its companion shows all
    summary = json.loads((bench.run / "summary.json").read_text(encoding="utf-8"))
    if summary["step"] != STEPS:
        raise Wrong(f"expected to resume up to step {STEPS}, came to {summary['step']}")
    return f"{STEPS} steps, saved and resumed; total_loss {summary['signals']['total_loss']:.2f}"


def _evaluation(bench: Bench) -> str:
    result = json.loads(bench.program("validate", "--run", str(bench.run), "--json"))
    pictures = list((bench.run / "samples").glob("*.png"))
    events = list((bench.run / "tensorboard").glob("events*"))
    if not pictures or not events:
        raise Wrong(f"expected pictures and TensorBoard files in {bench.run}")
    return f"{result['utterances']} held-out utterances, {len(pictures)} pictures, {len(events)} TensorBoard files"


def _speaking(bench: Bench) -> str:
    wave = bench.folder / "test.wav"
    bench.program("synthesize", "--run", str(bench.run), "--text", "One, two.", "--out", str(wave))
    return f"{wave.stat().st_size / 1e3:.0f} kB of sound"


def _report(bench: Bench) -> str:
    page = bench.run / "report.html"
    if not page.is_file():
        raise Wrong(f"expected a report in {bench.run}")
    return f"{page.stat().st_size / 1e3:.0f} kB"


def _mlflow(bench: Bench) -> str:
    settings = load_settings(bench.options.config, mlflow_uri=bench.options.mlflow_uri).mlflow
    if not settings.enabled:
        return "off (mlflow.enabled in the settings)"
    if settings.uri is None:
        return "a file beside the runs"
    from monitoring.exporters.mlflow_store import experiments_at

    return f"the server answers, {experiments_at(settings.uri)} experiments"


def _telegram(bench: Bench) -> str:
    settings = load_settings(bench.options.config).telegram
    if not settings.enabled:
        return "off (telegram.enabled in the settings)"
    from monitoring.messaging.telegram import TelegramDoor

    door = TelegramDoor(settings)
    try:
        _deliver(door, words_of(settings.language).say("test"))
    finally:
        door.close()
    heard = f"heard: {', '.join(map(str, settings.allowed_users))}" if settings.allowed_users else "nobody is heard"
    return f"a message was sent to chat {settings.chat_id}; {heard} (allowed_users)"


def _webhook(bench: Bench) -> str:
    settings = load_settings(bench.options.config)
    if settings.webhook.url is None:
        return "off (webhook.url in the settings)"
    door = WebhookDoor(settings.webhook.url.get_secret_value(), "test")
    _deliver(door, words_of(settings.telegram.language).say("test"))
    return "a message was taken"


def _deliver(door: Door, title: str) -> None:
    try:
        for parcel in door.parcels(Message("test", Importance.ANSWER, title)):
            door.send(parcel)
    except (Unreachable, Undeliverable, Flooded) as error:
        raise Wrong(str(error)) from error


COMPONENTS: dict[str, Callable[[Bench], str]] = {
    "settings": _settings,
    "output": _output,
    "device": _device,
    "espeak": _espeak,
    "corpus": _corpus,
    "training": _training,
    "evaluation": _evaluation,
    "report": _report,
    "speaking": _speaking,
    "mlflow": _mlflow,
    "telegram": _telegram,
    "webhook": _webhook,
}
