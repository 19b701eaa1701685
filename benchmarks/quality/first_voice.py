"""From nothing to a voice: the bars of the first voice, measured through the command line a person uses.

`python -m benchmarks first_voice` trains three English demos and a Russian one (about 20 minutes on two cores; with
`--model glow_tts` 32), prints a table and exits 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile

from benchmarks.quality.phone_timings import median_deviation_steps
from benchmarks.quality.recogniser import Recogniser, character_error_rate, copy_synthesis, espeak_wave, load_or_train
from benchmarks.quality.sentences import ORDINARY_SENTENCES
from corpus.demo.demo_corpus import make_demo_corpus
from files import REPOSITORY
from monitoring.journal.journal import read_journal

PROGRAM = REPOSITORY / "train_enhanced.py"
ALIGNED = 0.7  # free-running diagonality
MOST_SECONDS = {"tacotron2": 300, "glow_tts": 480}
MOST_MISHEARD = {"tacotron2": 8, "glow_tts": 15}  # points above espeak-ng's own voice


@dataclass(frozen=True)
class Bar:
    """One thing to reach: the figure, what it should be, and whether it is."""

    name: str
    figure: str
    wanted: str
    reached: bool


@dataclass(frozen=True)
class Result:
    """What one demo run came to."""

    seconds: float
    aligned_seconds: float | None
    signals: dict[str, Any]
    data_wait_share: float
    phone_deviation_steps: float
    error_points: float | None


def train_demo(output: Path, name: str, arguments: list[str]) -> float:
    """Run the command as a person does; returns its seconds."""
    command = [sys.executable, str(PROGRAM), "--mode", "train", "--output", str(output), "--run_name", name]
    command += ["--resume", "none", *arguments]  # a run that is there already would be "finished" within seconds
    started = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - started


def aligned_after_seconds(records: list[dict[str, Any]]) -> float | None:
    """Training time until the first evaluation with a free-running diagonality above the bar."""
    for record in records:
        if record["kind"] == "evaluation" and (record["signals"]["free_diagonality"] or 0) > ALIGNED:
            return float(record["training_seconds"])
    return None


def error_points(recogniser: Recogniser, run: Path, baseline: float) -> float:
    """Character error rate of the voice above that of espeak-ng's own recordings through Griffin-Lim, in points."""
    texts, spoken = run / "sentences.txt", run / "sentences"
    texts.write_text("\n".join(ORDINARY_SENTENCES) + "\n", encoding="utf-8")
    command = [sys.executable, str(PROGRAM), "--mode", "synthesize", "--run", str(run)]
    subprocess.run([*command, "--text_file", str(texts), "--out", str(spoken)], check=True, stdout=subprocess.DEVNULL)
    waves = [soundfile.read(path, dtype="float32") for path in sorted(spoken.glob("*.wav"))]
    heard = recogniser.transcribe([wave for wave, _ in waves], waves[0][1])
    return 100 * (character_error_rate(heard, ORDINARY_SENTENCES) - baseline)


def measure(output: Path, name: str, arguments: list[str], recogniser: Recogniser | None, baseline: float) -> Result:
    seconds = train_demo(output, name, arguments)
    run = output / name
    records = read_journal(run / "journal.jsonl")
    waits = [w for r in records if r["kind"] == "steps" for w in r["signals"]["data_wait_share"]]
    language = "ru" if "ru" in arguments else "en-us"
    corpus = make_demo_corpus(output / ".cache", language)
    return Result(
        seconds=seconds,
        aligned_seconds=aligned_after_seconds(records),
        signals=json.loads((run / "summary.json").read_text(encoding="utf-8"))["signals"],
        data_wait_share=statistics.median(waits),
        phone_deviation_steps=median_deviation_steps(run / "voice.safetensors", corpus, output / ".cache" / "mels"),
        error_points=None if recogniser is None else error_points(recogniser, run, baseline),
    )


def bars_of(name: str, result: Result, model: str) -> list[Bar]:
    aligned, most = result.aligned_seconds, MOST_SECONDS[model]
    ending = "gate_accuracy" if model == "tacotron2" else "length_accuracy"
    diagonality, right = result.signals["free_diagonality"], result.signals[ending]
    wait, deviation = result.data_wait_share, result.phone_deviation_steps
    bars = [
        Bar(f"{name}: command to voice", f"{result.seconds:.0f} s", f"≤ {most} s", result.seconds <= most),
        Bar(f"{name}: free-running diagonality", f"{diagonality:.3f}", "≥ 0.9", diagonality >= 0.9),
        Bar(f"{name}: {ending}", f"{right:.3f}", "≥ 0.95", right >= 0.95),
        Bar(f"{name}: waiting for data", f"{100 * wait:.1f} %", "< 5 %", wait < 0.05),
    ]
    if model != "tacotron2":  # another alignment, in other steps
        return bars
    return [
        *bars,
        Bar(f"{name}: aligned", f"{aligned} s of training", "≤ 60 s", aligned is not None and aligned <= 60),
        Bar(f"{name}: attention from true phones", f"{deviation:.2f} steps", "≤ 1", deviation <= 1),
    ]


def help_bar() -> Bar:
    started = time.perf_counter()
    subprocess.run([sys.executable, str(PROGRAM), "--help"], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    return Bar("--help", f"{seconds:.2f} s", "≤ 1 s", seconds <= 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MOST_SECONDS, default="tacotron2")
    parser.add_argument("--output", type=Path, default=Path("logs/first_voice"))
    parser.add_argument("--recogniser", type=Path, default=Path("logs/.cache/recogniser"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--without_russian", action="store_true")
    options = parser.parse_args()
    recogniser = load_or_train(options.recogniser)
    copies = [copy_synthesis(espeak_wave(text)) for text in ORDINARY_SENTENCES]
    baseline = character_error_rate(recogniser.transcribe(copies, 22050), ORDINARY_SENTENCES)
    model, most = options.model, MOST_MISHEARD[options.model]
    bars, points = [help_bar()], []
    for seed in options.seeds:
        own = ["--model", model, "--seed", str(seed)]
        result = measure(options.output, f"en-{model}-{seed}", own, recogniser, baseline)
        bars += bars_of(f"en seed {seed}", result, model)
        points.append(result.error_points or 0.0)
        bars.append(Bar(f"en seed {seed}: characters misheard", f"{points[-1]:+.1f} points", "–", True))
    median = statistics.median(points)
    wanted = f"≤ +{most} over {100 * baseline:.1f} % of espeak-ng"
    bars.append(Bar("en: median of the seeds", f"{median:+.1f} points", wanted, median <= most))
    if not options.without_russian:
        own = ["--model", model, "--language", "ru"]
        bars += bars_of("ru", measure(options.output, f"ru-{model}", own, None, baseline), model)
    for bar in bars:
        sys.stdout.write(f"{'ok' if bar.reached else 'MISSED':<7} {bar.name:<40} {bar.figure:<24} {bar.wanted}\n")
    return 0 if all(bar.reached for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
