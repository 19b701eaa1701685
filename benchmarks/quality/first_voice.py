"""Time and quality of first voices, trained on the demo corpus through the command line that people use.

`python -m benchmarks first_voice` trains three English voices and a Russian one (about 20 minutes on two cores; with
`--model glow_tts` 32), prints a table and exits 1 when a requirement is missed.
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

from benchmarks import program
from benchmarks.quality.phone_timings import median_deviation_steps
from benchmarks.quality.recogniser import Recogniser, character_error_rate, copy_synthesis, espeak_wave, load_or_train
from benchmarks.quality.sentences import ORDINARY_SENTENCES
from benchmarks.reporting import result_word
from corpus.demo.demo_corpus import make_demo_corpus

ALIGNED_DIAGONALITY = 0.7  # free-running
MAX_SECONDS = {"tacotron2": 300, "glow_tts": 480}
MAX_ERROR_POINTS = {"tacotron2": 8, "glow_tts": 15}  # above espeak-ng's own recordings


@dataclass(frozen=True)
class Requirement:
    """One measured figure beside the required one, both formatted."""

    name: str
    measured: str
    required: str
    is_met: bool


@dataclass(frozen=True)
class VoiceResult:
    """Measurements of one training and its voice."""

    seconds: float
    aligned_seconds: float | None  # of training; None: never aligned
    signals: dict[str, Any]
    data_wait_share: float
    phone_deviation_steps: float
    error_points: float | None  # None without a recogniser of the language


def seconds_until_aligned(records: list[dict[str, Any]]) -> float | None:
    """Training time until the first evaluation whose free-running diagonality shows alignment."""
    for record in records:
        if record["kind"] == "evaluation" and (record["signals"]["free_diagonality"] or 0) > ALIGNED_DIAGONALITY:
            return float(record["training_seconds"])
    return None


def error_points(recogniser: Recogniser, run: Path, baseline: float) -> float:
    """Character error rate of the voice minus `baseline`, in percentage points."""
    waves, sampling_rate = program.synthesize(("--run", run), ORDINARY_SENTENCES, run)
    transcripts = recogniser.transcribe(waves, sampling_rate)
    return 100 * (character_error_rate(transcripts, ORDINARY_SENTENCES) - baseline)


def measure(
    output: Path, run_name: str, arguments: list[str], recogniser: Recogniser | None, baseline: float
) -> VoiceResult:
    started = time.perf_counter()
    run = program.train(output, run_name, "--resume", "none", *arguments)  # a finished run would end within seconds
    seconds = time.perf_counter() - started
    records = program.read_records(run)
    wait_shares = [share for _, (share,) in program.step_values(records, "data_wait_share")]
    language = "ru" if "ru" in arguments else "en-us"
    corpus = make_demo_corpus(output / ".cache", language)
    return VoiceResult(
        seconds=seconds,
        aligned_seconds=seconds_until_aligned(records),
        signals=json.loads((run / "summary.json").read_text(encoding="utf-8"))["signals"],
        data_wait_share=statistics.median(wait_shares),
        phone_deviation_steps=median_deviation_steps(run / "voice.safetensors", corpus, output / ".cache" / "mels"),
        error_points=None if recogniser is None else error_points(recogniser, run, baseline),
    )


def requirements_of(name: str, result: VoiceResult, model: str) -> list[Requirement]:
    aligned, max_seconds = result.aligned_seconds, MAX_SECONDS[model]
    end_signal = "gate_accuracy" if model == "tacotron2" else "length_accuracy"
    diagonality, end_accuracy = result.signals["free_diagonality"], result.signals[end_signal]
    wait, deviation = result.data_wait_share, result.phone_deviation_steps
    checks = [
        (f"{name}: command to voice", f"{result.seconds:.0f} s", f"≤ {max_seconds} s", result.seconds <= max_seconds),
        (f"{name}: free-running diagonality", f"{diagonality:.3f}", "≥ 0.9", diagonality >= 0.9),
        (f"{name}: {end_signal}", f"{end_accuracy:.3f}", "≥ 0.95", end_accuracy >= 0.95),
        (f"{name}: waiting for data", f"{100 * wait:.1f} %", "< 5 %", wait < 0.05),
    ]
    if model == "tacotron2":  # other models align in another way and count other steps
        is_fast = aligned is not None and aligned <= 60
        checks += [
            (f"{name}: aligned", f"{aligned} s of training", "≤ 60 s", is_fast),
            (f"{name}: attention from true phones", f"{deviation:.2f} steps", "≤ 1", deviation <= 1),
        ]
    return [Requirement(*check) for check in checks]


def help_requirement() -> Requirement:
    started = time.perf_counter()
    subprocess.run([sys.executable, str(program.PROGRAM), "--help"], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    return Requirement("--help", f"{seconds:.2f} s", "≤ 1 s", seconds <= 1)


def measure_english(options: argparse.Namespace, recogniser: Recogniser, baseline: float) -> list[Requirement]:
    """Train with every seed; the median of the error rates must be low enough."""
    model, max_points = options.model, MAX_ERROR_POINTS[options.model]
    requirements, points = [], []
    for seed in options.seeds:
        arguments = ["--model", model, "--seed", str(seed)]
        result = measure(options.output, f"en-{model}-{seed}", arguments, recogniser, baseline)
        requirements += requirements_of(f"en seed {seed}", result, model)
        points.append(result.error_points or 0.0)
        figure = f"{points[-1]:+.1f} points"
        requirements.append(Requirement(f"en seed {seed}: characters misheard", figure, "–", True))
    median = statistics.median(points)
    required = f"≤ +{max_points} over {100 * baseline:.1f} % of espeak-ng"
    is_met = median <= max_points
    return [*requirements, Requirement("en: median of the seeds", f"{median:+.1f} points", required, is_met)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MAX_SECONDS, default="tacotron2")
    parser.add_argument("--output", type=Path, default=Path("logs/first_voice"))
    parser.add_argument("--recogniser", type=Path, default=Path("logs/.cache/recogniser"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--without_russian", action="store_true")
    options = parser.parse_args()
    recogniser = load_or_train(options.recogniser)
    copies = [copy_synthesis(espeak_wave(text)) for text in ORDINARY_SENTENCES]
    baseline = character_error_rate(recogniser.transcribe(copies, 22050), ORDINARY_SENTENCES)
    requirements = [help_requirement(), *measure_english(options, recogniser, baseline)]
    if not options.without_russian:
        arguments = ["--model", options.model, "--language", "ru"]
        result = measure(options.output, f"ru-{options.model}", arguments, None, baseline)
        requirements += requirements_of("ru", result, options.model)
    for line in requirements:
        sys.stdout.write(f"{result_word(line.is_met):<7} {line.name:<40} {line.measured:<24} {line.required}\n")
    return 0 if all(line.is_met for line in requirements) else 1


if __name__ == "__main__":
    sys.exit(main())
