"""Corpus check before training: a go or no-go verdict, with utterance ids and advice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from corpus.check import rules
from corpus.check.measure import UsableUtterance, UtteranceMeasurements, measure_utterance
from corpus.check.rules import CheckRow
from corpus.mel_cache import MelCache, ProgressCallback, worker_threads
from corpus.text.frontend import TextFrontend
from corpus.utterances import Corpus
from hparams import HParams

HISTOGRAM_BINS = 10


@dataclass(frozen=True)
class DurationBin:
    """Number of usable utterances with a length in this range."""

    from_seconds: float
    to_seconds: float
    count: int


@dataclass(frozen=True)
class CheckReport:
    """Rows of the table, and totals of the corpus."""

    format: str
    n_utterances: int
    n_usable: int
    hours: float
    durations: tuple[DurationBin, ...]
    rows: tuple[CheckRow, ...]

    @property
    def go(self) -> bool:
        """Whether training makes sense."""
        return all(row.verdict != "stop" for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Return the report in JSON types."""
        return {"go": self.go} | asdict(self)


def check_corpus(
    corpus: Corpus,
    hparams: HParams,
    *,
    frontend: TextFrontend,
    cache_folder: Path | None,
    workers: int,
    progress: ProgressCallback | None = None,
) -> CheckReport:
    """Measure all utterances with `workers` threads and judge the corpus; `cache_folder` gets their mels."""
    cache = MelCache(cache_folder, hparams) if cache_folder is not None else None
    measure = partial(measure_utterance, hparams=hparams, frontend=frontend, cache=cache)
    measurements = []
    with worker_threads(workers) as pool:
        for n_done, item in enumerate(pool.map(measure, corpus.utterances), start=1):
            measurements.append(item)
            if progress is not None:
                progress(n_done, len(corpus.utterances))
    usable = [
        UsableUtterance(item.utterance, item.text, item.audio)
        for item in measurements
        if item.fault is None and item.audio is not None
    ]
    return CheckReport(
        format=corpus.format,
        n_utterances=len(corpus.utterances) + len(corpus.skipped),
        n_usable=len(usable),
        hours=sum(item.audio.seconds for item in usable) / 3600,
        durations=_histogram([item.audio.seconds for item in usable]),
        rows=_apply_rules(corpus, measurements=measurements, usable=usable, hparams=hparams),
    )


def _apply_rules(
    corpus: Corpus,
    *,
    measurements: Sequence[UtteranceMeasurements],
    usable: Sequence[UsableUtterance],
    hparams: HParams,
) -> tuple[CheckRow, ...]:
    """Return all rows, the most important first."""
    return (
        rules.usable_row(len(usable), len(corpus.utterances) + len(corpus.skipped)),
        rules.metadata_row(corpus.skipped),
        rules.fault_row("recordings", fault="audio", measurements=measurements, advice="replace or remove these files"),
        rules.fault_row(
            "length", fault="length", measurements=measurements, advice="cut long ones and their texts at pauses"
        ),
        rules.fault_row(
            "transcripts", fault="transcript", measurements=measurements, advice="check --language and their spelling"
        ),
        rules.unknown_symbols_row(measurements),
        rules.speaking_rate_row(usable),
        rules.edge_silence_row(usable),
        rules.clipping_row(usable),
        rules.levels_row(usable, hparams),
        rules.sampling_rates_row(usable, hparams),
        rules.duplicate_audio_row(usable),
        rules.duplicate_text_row(usable),
        rules.longest_batch_row(usable, hparams),
        rules.amount_row(usable),
    )


def _histogram(seconds: Sequence[float]) -> tuple[DurationBin, ...]:
    """Count the lengths in bins of equal width."""
    if not seconds:
        return ()
    counts, edges = np.histogram(seconds, bins=HISTOGRAM_BINS)
    return tuple(
        DurationBin(round(float(low), 3), round(float(high), 3), int(count))
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    )


def render_report(report: CheckReport) -> str:
    """Format the report as plain text."""
    width = max(len(row.name) for row in report.rows)
    lines = [f"corpus: format {report.format}, {report.n_usable} usable utterances, {report.hours:.2f} h"]
    for row in report.rows:
        advice = f": {row.advice}" if row.advice else ""
        lines.append(f"{row.verdict:<5} {row.name:<{width}}  {row.finding}{advice}")
        lines += [f"{'':<6}{'':<{width}}    {name}" for name in row.worst]
    lines.append("go" if report.go else "no-go: see the rows marked stop")
    return "\n".join("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line) for line in lines)
