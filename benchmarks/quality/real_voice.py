"""Voices from real recordings, planned by the program and heard by Whisper, with and without a base voice.

`python -m benchmarks real_voice --data PATH --language de --minutes 40` trains one voice for each model and start,
speaks held-out sentences and lets the listener write down what it hears. Results are kept in docs/real_voice.jsonl: the
same command goes on where it stopped. `--recordings 20` takes only so many minutes of the recordings.

Each voice of all recordings is to be aligned, to fall in held-out loss until its end, to be left untreated and to be
understood; a base voice is to make it better understood, of few recordings too.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks import program
from benchmarks.reporting import conclude
from corpus.audio.recording import read_audio, resample
from corpus.utterances import Utterance, is_held_out, read_corpus
from files import REPOSITORY
from hparams import HParams
from listening.comparison import Misheard, compare, error_rate
from listening.whisper import SAMPLING_RATE, WhisperListener
from smart_tuner.settings import QualityControl

RESULTS = REPOSITORY / "docs" / "real_voice.jsonl"
MAX_CER = 0.55  # heard, with a base voice
N_BOOTSTRAP = 2_000


@dataclass(frozen=True)
class VoiceJob:
    """One voice to train; its fields identify a result."""

    corpus: str
    language: str
    model: str
    start: str  # --warm_start
    minutes: float
    recordings: float | None  # minutes of the recordings that are used; None: all
    seed: int

    @property
    def name(self) -> str:
        amount = "all" if self.recordings is None else f"{self.recordings:g}"
        return f"{self.corpus}-{self.model}-{self.start}-{self.minutes:g}-of-{amount}-{self.seed}"


def choose_utterances(data: str, n_sentences: int) -> tuple[list[Utterance], list[Utterance]]:
    """Utterances to train on, and the held-out ones to be spoken; both in the order of the corpus."""
    utterances = read_corpus(data, "auto").utterances
    percent = HParams().validation_percent
    held_out = [u for u in utterances if is_held_out(u, percent)]
    return [u for u in utterances if not is_held_out(u, percent)], held_out[:n_sentences]


def write_subset(folder: Path, train: Sequence[Utterance], held_out: Sequence[Utterance], minutes: float) -> None:
    """Make a corpus of so many minutes of the training utterances, chosen at random, and all that are to be spoken."""
    chosen, seconds = [], 0.0
    for utterance in random.Random(1).sample(list(train), len(train)):
        if seconds >= 60 * minutes:
            break
        chosen.append(utterance)
        seconds += soundfile.info(utterance.audio_path).duration
    (folder / "wavs").mkdir(parents=True, exist_ok=True)
    for utterance in (*chosen, *held_out):
        link = folder / "wavs" / utterance.audio_path.name
        if not link.exists():
            link.symlink_to(utterance.audio_path.absolute())
    lines = [f"{u.id}|{u.text}\n" for u in (*chosen, *held_out)]
    (folder / "metadata.csv").write_text("".join(lines), encoding="utf-8")


def train_voice(job: VoiceJob, data: str, output: Path) -> Path:
    """Train as a person would, base voice included in the time."""
    arguments = ["--data", data, "--language", job.language, "--model", job.model, "--warm_start", job.start]
    arguments += ["--max_minutes", str(job.minutes), "--seed", str(job.seed), "--companion", "off"]
    return program.train(output / job.name, "voice", *arguments)


def hear(
    listener: WhisperListener, waves: Sequence[np.ndarray], rate: int, texts: Sequence[str], language: str
) -> Iterator[tuple[str, Misheard]]:
    for wave, text in zip(waves, texts, strict=True):
        heard = listener.transcribe(resample(wave, source_rate=rate, target_rate=SAMPLING_RATE), language)
        yield heard, compare(heard, text, language)


def measure(job: VoiceJob, run: Path, listener: WhisperListener, spoken: Sequence[Utterance]) -> dict[str, Any]:
    """Measurements of a voice: the text heard of each sentence, and the course of its training."""
    texts = [u.text for u in spoken]
    waves, rate = program.synthesize(("--run", run), texts, run)
    heard = list(hear(listener, waves, rate, texts, job.language))
    records = program.read_records(run)
    evaluations = [r for r in records if r["kind"] == "evaluation"]
    loss = "val_nll_loss" if job.model == "glow_tts" else "val_mel_loss"
    curve = [[r["step"], r["signals"].get("free_diagonality"), r["signals"].get(loss)] for r in evaluations]
    return {
        "heard": [{"text": t, "heard": h, "errors": m.n_errors, "characters": m.n_characters}
                  for t, (h, m) in zip(texts, heard, strict=True)],
        "curve": curve,
        "interventions": [r["ailment"] for r in records if r["kind"] == "intervention" and r.get("by") != "person"],
        "best": max((r["signals"].get("composite_tts_score") or 0.0) for r in evaluations),
        "steps": curve[-1][0],
    }  # fmt: skip


def misheard_of(result: dict[str, Any]) -> list[Misheard]:
    return [Misheard(h["errors"], h["characters"]) for h in result["heard"]]


def bootstrap_interval(n: int, statistic: Callable[[Sequence[int]], float]) -> tuple[float, float]:
    """95 % interval of a statistic of n sentences; it receives the numbers of the sentences drawn."""
    rng = random.Random(0)
    values = sorted(statistic(rng.choices(range(n), k=n)) for _ in range(N_BOOTSTRAP))
    return values[round(0.025 * N_BOOTSTRAP)], values[round(0.975 * N_BOOTSTRAP)]


def interval(results: Sequence[Misheard]) -> tuple[float, float]:
    return bootstrap_interval(len(results), lambda drawn: error_rate([results[i] for i in drawn]))


def gain(with_base: Sequence[Misheard], without: Sequence[Misheard]) -> tuple[float, float]:
    """Interval of the error rate without a base voice minus that with one, over the same sentences."""

    def difference(drawn: Sequence[int]) -> float:
        return error_rate([without[i] for i in drawn]) - error_rate([with_base[i] for i in drawn])

    return bootstrap_interval(len(with_base), difference)


def missed_bars(job: VoiceJob, result: dict[str, Any]) -> list[str]:
    """Return the bars that a voice misses, with figures."""
    quality = QualityControl()
    is_searched = job.model == "glow_tts"
    needed = quality.posterior_diagonality_target if is_searched else quality.attention_diagonality_target
    before, last = split_at_last_quarter([loss for _, _, loss in result["curve"]])
    bars = {
        f"diagonality below {needed:g}": final_diagonality(result) >= needed,
        f"held-out loss {min(last):.3f} in the last quarter, {min(before):.3f} before": min(last) < min(before),
        f"treated: {', '.join(result['interventions'])}": not result["interventions"],
        f"CER above {MAX_CER:.0%}": job.start != "espeak" or error_rate(misheard_of(result)) <= MAX_CER,
    }
    return [name for name, is_met in bars.items() if not is_met]


def split_at_last_quarter(losses: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    first = len(losses) - max(1, len(losses) // 4)
    return losses[:first], losses[first:]


def final_diagonality(result: dict[str, Any]) -> float:
    return statistics.fmean([d or 0.0 for _, d, _ in result["curve"][-3:]])


def read_results(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines]


def table_line(job: VoiceJob, result: dict[str, Any], recorded: float) -> str:
    misheard = misheard_of(result)
    low, high = interval(misheard)
    figures = f"CER {error_rate(misheard):6.1%} [{low:.1%}, {high:.1%}] (recordings {recorded:.1%})"
    course = f"diagonality {final_diagonality(result):.2f}  steps {result['steps']:,}"
    return f"{job.name:<50} {figures}  {course}  missed: {'; '.join(missed_bars(job, result)) or 'nothing'}\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--language", default="de")
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--recordings", type=float, help="minutes of recordings to use; default: all")
    parser.add_argument("--models", nargs="+", default=["tacotron2", "glow_tts"])
    parser.add_argument("--starts", nargs="+", default=["espeak", "none"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1234])
    parser.add_argument("--sentences", type=int, default=24)
    parser.add_argument("--output", type=Path, default=Path("logs/real_voice"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    train, spoken = choose_utterances(options.data, options.sentences)
    options.output.mkdir(parents=True, exist_ok=True)
    data = options.data
    if options.recordings is not None:
        data = str(options.output / f"{options.recordings:g}-minutes")
        write_subset(Path(data), train, spoken, options.recordings)
    listener = WhisperListener(options.output / "listener")
    waves = [read_audio(u.audio_path, SAMPLING_RATE) for u in spoken]
    texts = [u.text for u in spoken]
    recorded = error_rate([m for _, m in hear(listener, waves, SAMPLING_RATE, texts, options.language)])
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    is_met = True
    for seed in options.seeds:
        for model in options.models:
            results: dict[str, dict[str, Any]] = {}
            for start in options.starts:
                corpus = Path(options.data).stem
                job = VoiceJob(corpus, options.language, model, start, options.minutes, options.recordings, seed)
                known = [r for r in read_results(options.results) if r["job"] == asdict(job)]
                if not known:
                    result = measure(job, train_voice(job, data, options.output), listener, spoken)
                    line = json.dumps({"job": asdict(job), "commit": commit.strip(), **result}, ensure_ascii=False)
                    with options.results.open("a", encoding="utf-8") as file:
                        file.write(line + "\n")
                    known = [json.loads(line)]
                results[start] = known[-1]
                sys.stdout.write(table_line(job, results[start], recorded))
                is_met &= job.recordings is not None or not missed_bars(job, results[start])
            if {"espeak", "none"} <= results.keys():
                low, high = gain(misheard_of(results["espeak"]), misheard_of(results["none"]))
                sys.stdout.write(f"{model}: the base voice lowers CER by {low:.1%} to {high:.1%}\n")
                is_met &= low > 0
    return conclude(sys.stdout.write, is_met=is_met)


if __name__ == "__main__":
    sys.exit(main())
