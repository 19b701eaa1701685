"""Texts as people type them, said by demo voices: do they end, are words missing, how soon is the first sound?

`python -m benchmarks any_text` trains demo voices of both models in English and Russian (about fifteen minutes on two
cores), speaks two hundred texts and lets Whisper write down what it hears. Voices that are there already are used.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch

from benchmarks import program
from benchmarks.quality.sentences import ORDINARY_SENTENCES
from benchmarks.reporting import conclude
from corpus.audio.recording import resample
from corpus.text.frontend import text_frontend
from files import REPOSITORY
from listening.comparison import compare, error_rate, missing_runs
from listening.whisper import SAMPLING_RATE, WhisperListener
from speech.synthesizer import Synthesizer, silence
from speech.voice import load_voice

TEXTS = Path(__file__).with_name("texts")
RESULTS = REPOSITORY / "docs" / "any_text.jsonl"
SHORTEST, LONGEST = 0.6, 1.7  # of the expected length
MIN_ENDING = 0.99
MAX_FIRST_SOUND_SECONDS = 1.5
MAX_MORE_MISHEARD = 0.02
LONG_TEXT_CHARACTERS = 2_000
N_PLAIN_SENTENCES = 16
LANGUAGES = {"en": "en-us", "ru": "ru"}


@dataclass(frozen=True)
class SaidText:
    """One text as a voice says it."""

    text: str
    seconds: float
    expected_seconds: float
    warnings: tuple[str, ...]
    waves: tuple[np.ndarray, ...]  # of the units
    unit_texts: tuple[str, ...]
    whole: np.ndarray

    @property
    def ends(self) -> bool:
        """Whether it has about the expected length, and no unit was reported."""
        in_time = SHORTEST <= self.seconds / self.expected_seconds <= LONGEST
        return in_time and not any("the voice" in warning for warning in self.warnings)


def say(synthesizer: Synthesizer, text: str) -> SaidText | None:
    """Speak a text; None if it holds nothing that this voice can say."""
    warnings: list[str] = []
    units = list(synthesizer.stream(text, warn=warnings.append))
    hparams, statistics = synthesizer.hparams, synthesizer.text_statistics
    assert statistics is not None, "a voice of this version"
    frontend = text_frontend(hparams)
    pieces = [x for unit in units for x in (unit.wave, silence(unit.pause_seconds, hparams.sampling_rate))][:-1]
    pauses = sum(unit.pause_seconds for unit in units[:-1])
    n_symbols = sum(len(frontend.encode(unit.text)) for unit in units)
    whole = np.concatenate(pieces)
    return SaidText(
        text=text,
        seconds=len(whole) / hparams.sampling_rate,
        expected_seconds=n_symbols * statistics.seconds_per_symbol + pauses,
        warnings=tuple(warnings),
        waves=tuple(unit.wave for unit in units),
        unit_texts=tuple(unit.text for unit in units),
        whole=whole,
    )


def hear(listener: WhisperListener, wave: np.ndarray, rate: int, language: str) -> str:
    return listener.transcribe(resample(wave, source_rate=rate, target_rate=SAMPLING_RATE), language)


def lost_words(listener: WhisperListener, said: SaidText, rate: int, language: str) -> int:
    """Runs of two or more words missing in the whole, beyond those missing in its units, each heard alone."""
    spoken = " ".join(said.unit_texts)
    if len(said.waves) == 1:
        return 0
    alone = " ".join(hear(listener, wave, rate, language) for wave in said.waves)
    heard = hear(listener, said.whole, rate, language)
    counts = [sum(run >= 2 for run in missing_runs(text, spoken, language)) for text in (heard, alone)]
    return max(0, counts[0] - counts[1])


def first_sound(synthesizer: Synthesizer, text: str) -> tuple[float, float]:
    """Seconds to the first sound of a long text, and megabytes that its speaking adds."""
    before, started = psutil.Process().memory_info().rss, time.perf_counter()
    units = synthesizer.stream(text)
    next(units)
    seconds = time.perf_counter() - started
    for _ in units:
        pass
    return seconds, (psutil.Process().memory_info().rss - before) / 1e6


def train_voice(output: Path, model: str, language: str, seed: int) -> Path:
    name = f"{language}-{model}-{seed}"
    arguments = ["--model", model, "--language", language, "--seed", str(seed), "--companion", "off"]
    return program.train(output, name, *arguments)


def measure_voice(
    synthesizer: Synthesizer, texts: Sequence[str], listener: WhisperListener, language: str
) -> dict[str, object]:
    rate = synthesizer.hparams.sampling_rate
    said = [result for text in texts if (result := say(synthesizer, text)) is not None]
    failed = [{"text": s.text, "ratio": round(s.seconds / s.expected_seconds, 2), "warnings": s.warnings}
              for s in said if not s.ends]  # fmt: skip
    long_text = (" ".join(texts) + " ")[:LONG_TEXT_CHARACTERS]
    seconds, megabytes = first_sound(synthesizer, long_text)
    return {
        "texts": len(said),
        "ending": 1 - len(failed) / len(said),
        "failed": failed,
        "lost_runs": sum(lost_words(listener, s, rate, language) for s in said),
        "first_sound_seconds": round(seconds, 2),
        "memory_megabytes": round(megabytes),
    }


def misheard(synthesizer: Synthesizer, texts: Sequence[str], listener: WhisperListener, language: str) -> float:
    rate = synthesizer.hparams.sampling_rate
    waves = [synthesizer.speak([text])[0] for text in texts]
    heard = [hear(listener, wave, rate, language) for wave in waves]
    return error_rate([compare(h, text, language) for h, text in zip(heard, texts, strict=True)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["tacotron2", "glow_tts"])
    parser.add_argument("--languages", nargs="+", default=list(LANGUAGES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of the English Tacotron 2 voices")
    parser.add_argument("--output", type=Path, default=Path("logs/any_text"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    listener, is_met = WhisperListener(options.output / "listener"), True
    for language in options.languages:
        texts = (TEXTS / f"any_text_{language}.txt").read_text(encoding="utf-8").splitlines()
        for model in options.models:
            run = train_voice(options.output, model, LANGUAGES[language], options.seeds[0])
            synthesizer = Synthesizer(load_voice(run / "voice.safetensors"), torch.device("cpu"))
            result = measure_voice(synthesizer, texts, listener, language)
            with options.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"voice": run.name, **result}, ensure_ascii=False) + "\n")
            sys.stdout.write(
                f"{run.name:<22} {result['texts']} texts, {result['ending']:.1%} end in time, "
                f"{result['lost_runs']} runs of lost words, first sound after {result['first_sound_seconds']} s, "
                f"{result['memory_megabytes']} MB more\n"
            )
            is_met &= float(str(result["ending"])) >= MIN_ENDING and result["lost_runs"] == 0
            is_met &= float(str(result["first_sound_seconds"])) <= MAX_FIRST_SOUND_SECONDS
    if "en" in options.languages and "tacotron2" in options.models:
        for seed in options.seeds:
            run = train_voice(options.output, "tacotron2", "en-us", seed)
            synthesizer = Synthesizer(load_voice(run / "voice.safetensors"), torch.device("cpu"))
            usual = list(ORDINARY_SENTENCES[:N_PLAIN_SENTENCES])
            plain = [text.rstrip(".!?").lower() for text in usual]
            rates = [misheard(synthesizer, part, listener, "en") for part in (usual, plain)]
            all_end = all(s is not None and s.ends for s in (say(synthesizer, text) for text in plain))
            sys.stdout.write(
                f"{run.name:<22} sixteen plain sentences: {'all end' if all_end else 'NOT all end'}, misheard "
                f"{rates[1]:.1%}, with full stops {rates[0]:.1%}\n"
            )
            is_met &= all_end and rates[1] - rates[0] <= MAX_MORE_MISHEARD
    return conclude(sys.stdout.write, is_met=is_met)


if __name__ == "__main__":
    sys.exit(main())
