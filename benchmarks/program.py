"""The program as a benchmark runs it, through the command line that people use, and the journals of its runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from files import REPOSITORY
from monitoring.journal.journal import read_journal

PROGRAM = REPOSITORY / "train_enhanced.py"


def command(mode: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, str(PROGRAM), "--mode", mode, *map(str, arguments)]


def train(output: Path, run_name: str, *arguments: str) -> Path:
    """Train in `output`/`run_name` until the end; return that folder."""
    subprocess.run(command("train", "--output", output, "--run_name", run_name, *arguments), check=True)
    return output / run_name


def synthesize(voice: Sequence[str | Path], sentences: Sequence[str], folder: Path) -> tuple[list[np.ndarray], int]:
    """Speak sentences; return their waves [samples] in the same order, and the sampling rate.

    `voice`: the options that choose it, such as `--run FOLDER`. Texts and waves are written into `folder`.
    """
    texts, output = folder / "sentences.txt", folder / "sentences"
    texts.write_text("\n".join(sentences) + "\n", encoding="utf-8")
    arguments = command("synthesize", *voice, "--text_file", texts, "--out", output)
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
    waves = [soundfile.read(path, dtype="float32") for path in sorted(output.glob("*.wav"))]
    return [wave for wave, _ in waves], waves[0][1]


def read_records(run: Path) -> list[dict[str, Any]]:
    """Records of a run's journal; none if it has not begun."""
    path = run / "journal.jsonl"
    return read_journal(path) if path.is_file() else []


def step_values(records: Sequence[dict[str, Any]], *names: str) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Yield the number of each step, and its values of these signals."""
    for record in records:
        if record["kind"] == "steps":
            columns = [record["signals"][name] for name in names]
            yield from zip(record["steps"], zip(*columns, strict=True), strict=True)
