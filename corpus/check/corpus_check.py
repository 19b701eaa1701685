"""What is wrong with a corpus, before an hour is lost: go or no-go, with names and advice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from corpus.check import rules as check_rows
from corpus.check.measure import Frontend, UsableUtterance, UtteranceMeasurements, measure
from corpus.check.rules import CheckRow
from corpus.mel_cache import MelCache, worker_threads
from corpus.utterances import Corpus
from hparams import HParams

HISTOGRAM_BINS = 10

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class DurationBin:
    """How many usable utterances have a length in this range."""

    from_seconds: float
    to_seconds: float
    count: int


@dataclass(frozen=True)
class CheckReport:
    """The table and the figures behind it."""

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
        """The report in types that JSON knows."""
        return {"go": self.go} | asdict(self)


def check_corpus(
    corpus: Corpus,
    hparams: HParams,
    *,
    frontend: Frontend,
    cache_folder: Path | None,
    workers: int,
    progress: Progress | None = None,
) -> CheckReport:
    """Measure every utterance with `workers` threads and judge the whole; with a folder the mels are kept there."""
    cache = MelCache(cache_folder, hparams) if cache_folder is not None else None
    measure_one = partial(measure, hparams=hparams, frontend=frontend, cache=cache)
    facts = []
    with worker_threads(workers) as pool:
        for done, one in enumerate(pool.map(measure_one, corpus.utterances), start=1):
            facts.append(one)
            if progress is not None:
                progress(done, len(corpus.utterances))
    usable = [UsableUtterance(one.utterance, one.text, one.audio) for one in facts if one.fault is None and one.audio]
    return CheckReport(
        format=corpus.format,
        n_utterances=len(corpus.utterances) + len(corpus.skipped),
        n_usable=len(usable),
        hours=sum(one.audio.seconds for one in usable) / 3600,
        durations=_histogram([one.audio.seconds for one in usable]),
        rows=_rows(corpus, facts=facts, usable=usable, hparams=hparams),
    )


def _rows(
    corpus: Corpus, *, facts: Sequence[UtteranceMeasurements], usable: Sequence[UsableUtterance], hparams: HParams
) -> tuple[CheckRow, ...]:
    """Judge everything, the most important first."""
    return (
        check_rows.usable_row(len(usable), len(corpus.utterances) + len(corpus.skipped)),
        check_rows.metadata_row(corpus.skipped),
        check_rows.fault_row("recordings", fault="audio", facts=facts, advice="replace or remove these files"),
        check_rows.fault_row("length", fault="length", facts=facts, advice="cut long ones at pauses, with their texts"),
        check_rows.fault_row(
            "transcripts", fault="transcript", facts=facts, advice="see --language and their spelling"
        ),
        check_rows.unknown_symbols_row(facts),
        check_rows.speaking_rate_row(usable),
        check_rows.edge_silence_row(usable),
        check_rows.clipping_row(usable),
        check_rows.sampling_rates_row(usable, hparams),
        check_rows.duplicate_audio_row(usable),
        check_rows.duplicate_text_row(usable),
        check_rows.longest_batch_row(usable, hparams),
        check_rows.amount_row(usable),
    )


def _histogram(seconds: Sequence[float]) -> tuple[DurationBin, ...]:
    """Count lengths in equal ranges."""
    if not seconds:
        return ()
    counts, edges = np.histogram(seconds, bins=HISTOGRAM_BINS)
    return tuple(
        DurationBin(round(float(low), 3), round(float(high), 3), int(count))
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    )


def render_report(report: CheckReport) -> str:
    """Lay the report out as plain text."""
    width = max(len(row.name) for row in report.rows)
    lines = [f"corpus: format {report.format}, {report.n_usable} usable utterances, {report.hours:.2f} h"]
    for row in report.rows:
        advice = f": {row.advice}" if row.advice else ""
        lines.append(f"{row.verdict:<5} {row.name:<{width}}  {row.finding}{advice}")
        lines += [f"{'':<6}{'':<{width}}    {name}" for name in row.worst]
    lines.append("go" if report.go else "no-go: see the rows marked stop")
    return "\n".join("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line) for line in lines)
