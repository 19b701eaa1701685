"""Rows of the check's table; each judges one property of the whole corpus and gives advice."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from corpus.audio.speech_level import MAX_SPREAD_DB, PERCENTILES
from corpus.check.measure import Fault, UsableUtterance, UtteranceMeasurements
from corpus.utterances import SkippedEntry
from hparams import HParams

Verdict = Literal["ok", "warn", "stop"]

MAX_WORST_SHOWN = 10
NO_UTTERANCES = "no usable utterances"
MUCH_EDGE_SILENCE_SECONDS = 1.0
MUCH_CLIPPING_SHARE = 0.001  # a normalised recording touches full scale in a sample or two
UNUSUAL_RATE_DEVIATIONS = 4.0  # robust standard deviations of the logarithm
UNUSUAL_RATE_FACTOR = 1.5  # a speaker of even rate has tiny deviations, which alone must not give a warning
LITTLE_SPEECH_HOURS = 0.2  # with less, not even a synthetic voice can be trained from scratch


@dataclass(frozen=True)
class CheckRow:
    """Row of the table: property, verdict, finding, advice, and the worst utterances by id."""

    name: str
    verdict: Verdict
    finding: str
    advice: str = ""
    worst: tuple[str, ...] = ()


def usable_row(n_usable: int, n_utterances: int) -> CheckRow:
    """Judge whether enough utterances can be used to train at all."""
    finding = f"{n_usable} of {n_utterances} utterances"
    if n_usable < 2:
        return CheckRow("usable", "stop", finding, "at least 2 are needed: repair the problems listed below")
    if n_usable * 2 < n_utterances:
        return CheckRow("usable", "stop", finding, "most of the corpus is lost: repair the problems listed below")
    verdict: Verdict = "ok" if n_usable == n_utterances else "warn"
    return CheckRow("usable", verdict, finding, "" if verdict == "ok" else "the others are skipped in training")


def metadata_row(skipped: Sequence[SkippedEntry]) -> CheckRow:
    """List the metadata rows that cannot be used."""
    worst = tuple(f"{skip.where}: {skip.reason}" for skip in skipped)
    return _warn_if_any("metadata", worst, problem="rows that cannot be used", advice="correct these rows")


def fault_row(name: str, *, fault: Fault, measurements: Sequence[UtteranceMeasurements], advice: str) -> CheckRow:
    """List the utterances with one kind of fault."""
    worst = tuple(f"{item.utterance.id}: {item.reason}" for item in measurements if item.fault == fault)
    return _warn_if_any(name, worst, problem="cannot be used", advice=advice)


def unknown_symbols_row(measurements: Sequence[UtteranceMeasurements]) -> CheckRow:
    """Count the symbols that are not in the set: training leaves them out."""
    counts = Counter(symbol for item in measurements for symbol in item.text.unknown)
    examples = {symbol: item.utterance.id for item in reversed(measurements) for symbol in item.text.unknown}
    worst = tuple(f"{symbol!r}: {count} times, first in {examples[symbol]}" for symbol, count in counts.most_common())
    advice = "respell them, or choose another --language or text_frontend"
    return _warn_if_any("unknown symbols", worst, problem="symbols that are not in the set", advice=advice)


def speaking_rate_row(usable: Sequence[UsableUtterance]) -> CheckRow:
    """Find transcripts far too long or too short for their recordings: they probably belong to another recording."""
    rates = np.log([max(item.characters_per_second, math.ulp(1.0)) for item in usable])
    if len(rates) == 0:
        return _empty("speaking rate")
    median = float(np.median(rates))
    spread = 1.4826 * float(np.median(np.abs(rates - median)))
    limit = max(UNUSUAL_RATE_DEVIATIONS * spread, math.log(UNUSUAL_RATE_FACTOR))
    distance = np.abs(rates - median)
    worst = tuple(
        f"{usable[i].utterance.id}: {math.exp(rates[i]):.1f} characters/s"
        for i in np.argsort(-distance)
        if distance[i] > limit
    )
    usual = f"usual: {math.exp(median):.1f} characters/s"
    advice = "listen to them: the transcript is probably wrong"
    return _warn_if_any("speaking rate", worst, problem="far from the rest", advice=advice, note=usual)


def edge_silence_row(usable: Sequence[UsableUtterance]) -> CheckRow:
    """Find long silence before or after speech."""
    silences = {item.utterance.id: item.audio.edge_silence_seconds for item in usable}
    worst = _list_above(MUCH_EDGE_SILENCE_SECONDS, silences, "{:.2f} s")
    problem = f"with more than {MUCH_EDGE_SILENCE_SECONDS:g} s at an edge"
    advice = "they are trimmed; check that no speech is missing"
    return _warn_if_any("silent edges", worst, problem=problem, advice=advice)


def clipping_row(usable: Sequence[UsableUtterance]) -> CheckRow:
    """Find recordings with many samples at full scale."""
    shares = {item.utterance.id: item.audio.full_scale_share for item in usable}
    worst = _list_above(MUCH_CLIPPING_SHARE, shares, "{:.2%} of its samples")
    advice = "record them again more quietly, or leave them out"
    return _warn_if_any("clipping", worst, problem="at full scale", advice=advice)


def levels_row(usable: Sequence[UsableUtterance], hparams: HParams) -> CheckRow:
    """Judge whether the recordings are about equally loud."""
    levels = {item.utterance.id: level for item in usable if (level := item.audio.speech_level_db) is not None}
    if not levels:
        return _empty("levels")
    low, middle, high = np.percentile(list(levels.values()), (PERCENTILES[0], 50, PERCENTILES[1]))
    finding = f"speech at {low:.0f} to {high:.0f} dB, median {middle:.0f} dB"
    if high - low <= MAX_SPREAD_DB:
        return CheckRow("levels", "ok", finding)
    farthest = sorted(levels, key=lambda id_: -abs(levels[id_] - middle))[:MAX_WORST_SHOWN]
    advice = "record at one distance and gain"
    if hparams.speech_level != "as_recorded":
        advice = "training brings them to one level; quiet ones bring their noise along"
    return CheckRow("levels", "warn", finding, advice, tuple(f"{id_}: {levels[id_]:.0f} dB" for id_ in farthest))


def sampling_rates_row(usable: Sequence[UsableUtterance], hparams: HParams) -> CheckRow:
    """Judge whether all recordings have the same sampling rate, and whether it is high enough."""
    counts, wanted = Counter(item.audio.sampling_rate for item in usable), hparams.sampling_rate
    finding = ", ".join(f"{count} at {rate} Hz" for rate, count in counts.most_common()) or NO_UTTERANCES
    rare = {rate for rate, _ in counts.most_common()[1:]} | {rate for rate in counts if rate < wanted}
    worst = tuple(
        f"{item.utterance.id}: {item.audio.sampling_rate} Hz" for item in usable if item.audio.sampling_rate in rare
    )
    if any(rate < wanted for rate in counts):
        advice = f"below {wanted} Hz the treble is missing: use better originals or a lower sampling_rate"
    elif len(counts) > 1:
        advice = "they are resampled; recordings of different origin sound different"
    else:
        return CheckRow("sampling rates", "ok", finding)
    return CheckRow("sampling rates", "warn", finding, advice, worst[:MAX_WORST_SHOWN])


def duplicate_audio_row(usable: Sequence[UsableUtterance]) -> CheckRow:
    """Find recordings that occur more than once."""
    worst = _duplicates((item.audio.content, item.utterance.id) for item in usable)
    return _warn_if_any("duplicate audio", worst, problem="recordings more than once", advice="keep one of each")


def duplicate_text_row(usable: Sequence[UsableUtterance]) -> CheckRow:
    """Find transcripts that occur more than once."""
    worst = _duplicates((" ".join(item.utterance.text.casefold().split()), item.utterance.id) for item in usable)
    advice = "fine if the sentence was recorded more than once; else one of the transcripts is wrong"
    return _warn_if_any("duplicate texts", worst, problem="transcripts more than once", advice=advice)


def longest_batch_row(usable: Sequence[UsableUtterance], hparams: HParams) -> CheckRow:
    """Compute the largest possible batch, in padded mel frames."""
    if not usable:
        return _empty("longest batch")
    longest = max(usable, key=lambda item: item.audio.seconds)
    frames = 1 + int(longest.audio.seconds * hparams.sampling_rate / hparams.hop_length)
    rows = max(1, min(hparams.batch_size, len(usable), hparams.max_frames_per_batch // frames))
    finding = f"{rows} x {frames} = {rows * frames} frames ({longest.utterance.id}, {longest.audio.seconds:.1f} s)"
    if frames > hparams.max_frames_per_batch:
        advice = "one utterance alone exceeds max_frames_per_batch: raise that or lower max_utterance_seconds"
        return CheckRow("longest batch", "warn", finding, advice)
    return CheckRow("longest batch", "ok", finding)


def amount_row(usable: Sequence[UsableUtterance]) -> CheckRow:
    """Sum up the amount of speech and the lengths of the utterances."""
    seconds = np.array([item.audio.seconds for item in usable])
    if len(seconds) == 0:
        return _empty("speech")
    low, middle, high = np.percentile(seconds, (5, 50, 95))
    hours = float(seconds.sum()) / 3600
    finding = f"{hours:.2f} h; utterances of {low:.1f} to {high:.1f} s, median {middle:.1f} s"
    if hours < LITTLE_SPEECH_HOURS:
        return CheckRow("speech", "warn", finding, "too little to train from scratch: --warm_start a trained voice")
    return CheckRow("speech", "ok", finding)


def _warn_if_any(name: str, worst: tuple[str, ...], *, problem: str, advice: str, note: str = "") -> CheckRow:
    """Return a row that is `ok` if there are no `worst`, else a warning that shows the first of them."""
    if not worst:
        return CheckRow(name, "ok", note or "nothing found")
    finding = f"{len(worst)} {problem}" + (f" ({note})" if note else "")
    return CheckRow(name, "warn", finding, advice, worst[:MAX_WORST_SHOWN])


def _list_above(limit: float, values: Mapping[str, float], form: str) -> tuple[str, ...]:
    """List the utterances whose values exceed a limit, the worst first."""
    worst_first = sorted(values, key=lambda id_: -values[id_])
    return tuple(f"{id_}: {form.format(values[id_])}" for id_ in worst_first if values[id_] > limit)


def _empty(name: str) -> CheckRow:
    return CheckRow(name, "ok", NO_UTTERANCES)


def _duplicates(keyed_ids: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Return a text `id = id` for each key that several ids share."""
    groups = defaultdict(list)
    for key, id_ in keyed_ids:
        groups[key].append(id_)
    return tuple(" = ".join(ids) for ids in groups.values() if len(ids) > 1)
