"""The program from the command line, with a corpus and a model so small that a run takes a second or two."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
import pytest
import soundfile

import train_enhanced
from commands.companion.__main__ import main as companion_main
from monitoring.journal.journal import read_journal
from tests.support.warm_start import WarmProcess, warm_program
from training.checkpoints.checkpoint import list_checkpoints

Process = WarmProcess | subprocess.Popen[str]
PROGRAM = Path(train_enhanced.__file__)
UNWATCHED = ("--watchdog", "off", "--companion", "off", "--warm_start", "none")
RATE = 16_000
TINY: dict[str, Any] = {
    "precision": "float32",
    "cpu_threads": 1,  # the last bits of a run depend on it, and 0 means what an earlier run in this process has set
    "text_frontend": "graphemes",
    "symbols_embedding_dim": 8,
    "encoder_embedding_dim": 16,
    "attention_rnn_dim": 16,
    "attention_dim": 8,
    "decoder_rnn_dim": 16,
    "prenet_dim": 8,
    "postnet_embedding_dim": 8,
    "postnet_n_convolutions": 2,
    "n_frames_per_step": 4,
    "max_decoder_steps": 20,
    "batch_size": 4,
    "epochs": 2,
    "evaluation_samples": 1,
    "evaluation_utterances": 2,
    "griffin_lim_iterations": 2,
    "iters_per_evaluation": 4,
    "iters_per_checkpoint": 4,
    # as given by a person, so that a longer or shorter plan changes no result
    "warmup_steps": 500,
    "decay_start_step": 50_000,
    "decay_half_life_steps": 50_000,
    "guide_anneal_start_step": 20_000,
    "guide_anneal_steps": 20_000,
    "alignment_patience_steps": 15_000,
    "gate_positive_weight": 8.0,
    "plain_text_share": 0.0,
}


def tiny(**changes: Any) -> list[str]:
    """Return the options of the tiny model."""
    return ["--preset", "full", "--hparams", ",".join(f"{name}={value}" for name, value in (TINY | changes).items())]


@dataclass(frozen=True)
class Outcome:
    """Exit code, standard output and standard error of one run of the program."""

    code: int
    out: str
    err: str

    @property
    def flat(self) -> str:
        """Standard output without line breaks."""
        return " ".join(self.out.split())

    def refused(self, pattern: str) -> None:
        """Assert exit 2 with one clear line that matches, and no traceback."""
        assert self.code == 2, (self.code, self.out, self.err)
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        assert re.search(pattern, lines[0]), lines[0]


class Program:
    """The command line, run in this process or in one of its own."""

    def __init__(self, capsys: pytest.CaptureFixture[str], output: Path) -> None:
        self._capsys, self.output = capsys, output

    def __call__(self, *arguments: object) -> Outcome:
        self._capsys.readouterr()
        code = train_enhanced.main(["--output", str(self.output), *UNWATCHED, *map(str, arguments)])
        printed = self._capsys.readouterr()
        return Outcome(code, printed.out, printed.err)

    def train(self, data: Path, *arguments: object, run: str = "run", **changes: Any) -> Outcome:
        return self("--data", data, "--run_name", run, *tiny(**changes), *arguments)

    def trained(self, data: Path, *arguments: object, run: str = "run", **changes: Any) -> Path:
        """Train, check that it succeeded, and return the run's folder."""
        outcome = self.train(data, *arguments, run=run, **changes)
        assert outcome.code == 0, outcome.err
        return self.output / run

    def shown(self, run: Path) -> Path:
        """Run the companion over the run's journal, which writes reports and samples; return the folder."""
        settings = self.output / "settings.yaml"
        settings.write_text("mlflow: {enabled: false}\n", encoding="utf-8")
        assert companion_main([str(run), "--config", str(settings)]) == 0
        return run

    def start(self, data: Path, *arguments: object, run: str = "run", **changes: Any) -> WarmProcess:
        """Start a training in a process of its own."""
        options = ["--output", str(self.output), "--data", str(data), "--run_name", run, *UNWATCHED, *tiny(**changes)]
        return start([*options, *map(str, arguments)])


def start(arguments: list[str]) -> WarmProcess:
    return warm_program(PROGRAM, arguments, OMP_NUM_THREADS="1")


def wait_for(condition: Callable[[], object], process: Process, seconds: float = 150.0) -> None:
    """Wait until the condition holds; fail if the process ends first."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the condition did not hold in time"
        time.sleep(0.002)


def journal(run: Path, kind: str | None = None) -> list[dict[str, Any]]:
    return [record for record in read_journal(run / "journal.jsonl") if kind in (None, record["kind"])]


def summary(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "summary.json").read_text(encoding="utf-8")))


def newest(run: Path) -> Path:
    return list_checkpoints(run / "checkpoints")[-1].path


def losses(run: Path) -> dict[int, float]:
    """Total loss by step; of a step that was repeated, the later one."""
    losses: dict[int, float] = {}
    for record in journal(run, "steps"):
        losses |= dict(zip(record["steps"], record["signals"]["total_loss"], strict=True))
    return losses


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tone(seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Speech-like signal: a tone of varying loudness with a little noise; float64 [samples]."""
    t = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(0, 0.01, len(t))
    return 0.4 * np.sin(2 * np.pi * (150 + 20 * seed) * t) * (1.2 + np.sin(2 * np.pi * 3 * t)) / 2.2 + noise


def good_clips(folder: Path, count: int = 4) -> dict[str, str]:
    """Write recordings of about 1 s; return their texts by id."""
    (folder / "wavs").mkdir(parents=True)
    for i in range(count):
        soundfile.write(folder / "wavs" / f"good{i}.wav", tone(0.8 + 0.1 * i, seed=i), RATE)
    return {f"good{i}": f"good words number {ascii_lowercase[i]}" for i in range(count)}


def write_metadata(folder: Path, texts: dict[str, str], *more_rows: str) -> None:
    """Write metadata.csv with rows id|text."""
    rows = [f"{id_}|{text}" for id_, text in texts.items()]
    (folder / "metadata.csv").write_text("\n".join([*rows, *more_rows]) + "\n", encoding="utf-8")
