"""The rows of the check's table: each judges one thing about a whole corpus and says what to do."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from corpus.check.measure import Fault, UsableUtterance, UtteranceMeasurements
from corpus.utterances import SkippedEntry
from hparams import HParams

Verdict = Literal["ok", "warn", "stop"]

SHOWN_WORST = 10
MUCH_EDGE_SILENCE_SECONDS = 1.0
MUCH_CLIPPING_SHARE = 0.001  # a normalised recording touches full scale in a sample or two
UNUSUAL_RATE_DEVIATIONS = 4.0  # robust standard deviations of the logarithm
UNUSUAL_RATE_FACTOR = 1.5  # an even speaker has a tiny deviation: that alone must not raise an alarm
LITTLE_SPEECH_HOURS = 0.2  # from less than this not even a synthetic voice is learnt from scratch


@dataclass(frozen=True)
class CheckRow:
    """One line of the table: what was looked at, what was found, what to do, and the worst utterances by name."""

    name: str
    verdict: Verdict
    finding: str
    advice: str = ""
    worst: tuple[str, ...] = ()


def usable_row(n_usable: int, n_found: int) -> CheckRow:
    """Whether enough is left to train on at all."""
    finding = f"{n_usable} of {n_found} utterances"
    if n_usable < 2:
        return CheckRow("usable", "stop", finding, "at least 2 are needed: repair what the rows below name")
    if n_usable * 2 < n_found:
        return CheckRow("usable", "stop", finding, "most of the corpus is lost: repair what the rows below name")
    verdict: Verdict = "ok" if n_usable == n_found else "warn"
    return CheckRow("usable", verdict, finding, "" if verdict == "ok" else "the others are skipped in training")


def metadata_row(skipped: Sequence[SkippedEntry]) -> CheckRow:
    """Rows of the metadata that name no usable utterance."""
    worst = tuple(f"{skip.where}: {skip.reason}" for skip in skipped)
    return _counted("metadata", worst, what="rows that cannot be used", advice="correct these rows")


def fault_row(name: str, *, fault: Fault, facts: Sequence[UtteranceMeasurements], advice: str) -> CheckRow:
    """Utterances with one kind of fault."""
    worst = tuple(f"{one.utterance.id}: {one.reason}" for one in facts if one.fault == fault)
    return _counted(name, worst, what="cannot be used", advice=advice)


def unknown_symbols_row(facts: Sequence[UtteranceMeasurements]) -> CheckRow:
    """Symbols that the set lacks: they would be left out of what is learnt."""
    counts = Counter(symbol for one in facts for symbol in one.text.unknown)
    examples = {symbol: one.utterance.id for one in reversed(facts) for symbol in one.text.unknown}
    worst = tuple(f"{symbol!r}: {count} times, first in {examples[symbol]}" for symbol, count in counts.most_common())
    advice = "respell them, or choose another --language or text_frontend"
    return _counted("unknown symbols", worst, what="symbols the set lacks", advice=advice)


def speaking_rate_row(usable: Sequence[UsableUtterance]) -> CheckRow:
    """Transcripts far too long or too short for their recordings: probably those of another one."""
    rates = np.log([max(one.characters_per_second, math.ulp(1.0)) for one in usable])
    if len(rates) == 0:
        return _nothing("speaking rate")
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
    return _counted("speaking rate", worst, what="far from the rest", advice=advice, note=usual)


def edge_silence_row(usable: Sequence[UsableUtterance]) -> CheckRow:
    """Long silence before or after speech."""
    longest = sorted(usable, key=lambda one: -one.audio.edge_silence_seconds)
    worst = tuple(
        f"{one.utterance.id}: {one.audio.edge_silence_seconds:.2f} s"
        for one in longest
        if one.audio.edge_silence_seconds > MUCH_EDGE_SILENCE_SECONDS
    )
    what = f"with more than {MUCH_EDGE_SILENCE_SECONDS:g} s at an edge"
    return _counted("silent edges", worst, what=what, advice="they are trimmed; see that no speech is missing")


def clipping_row(usable: Sequence[UsableUtterance]) -> CheckRow:
    """Recordings with many samples at full scale."""
    loudest = sorted(usable, key=lambda one: -one.audio.full_scale_share)
    worst = tuple(
        f"{one.utterance.id}: {one.audio.full_scale_share:.2%} of its samples"
        for one in loudest
        if one.audio.full_scale_share > MUCH_CLIPPING_SHARE
    )
    return _counted("clipping", worst, what="at full scale", advice="record them again more quietly, or leave them out")


def sampling_rates_row(usable: Sequence[UsableUtterance], hparams: HParams) -> CheckRow:
    """Whether all recordings have one sampling rate, and one that is high enough."""
    counts = Counter(one.audio.sampling_rate for one in usable)
    finding = ", ".join(f"{count} at {rate} Hz" for rate, count in counts.most_common()) or "nothing to look at"
    rare = {rate for rate, _ in counts.most_common()[1:]} | {rate for rate in counts if rate < hparams.sampling_rate}
    worst = tuple(
        f"{one.utterance.id}: {one.audio.sampling_rate} Hz" for one in usable if one.audio.sampling_rate in rare
    )
    if any(rate < hparams.sampling_rate for rate in counts):
        advice = (
            f"below {hparams.sampling_rate} Hz the treble is missing: use better originals or a lower sampling_rate"
        )
        return CheckRow("sampling rates", "warn", finding, advice, worst[:SHOWN_WORST])
    if len(counts) > 1:
        advice = "they are resampled; recordings of different origin sound different"
        return CheckRow("sampling rates", "warn", finding, advice, worst[:SHOWN_WORST])
    return CheckRow("sampling rates", "ok", finding)


def duplicate_audio_row(usable: Sequence[UsableUtterance]) -> CheckRow:
    """Recordings that are there more than once."""
    worst = _repeated((one.audio.content, one.utterance.id) for one in usable)
    return _counted("duplicate audio", worst, what="recordings more than once", advice="keep one of each")


def duplicate_text_row(usable: Sequence[UsableUtterance]) -> CheckRow:
    """Transcripts that are there more than once."""
    worst = _repeated((" ".join(one.utterance.text.casefold().split()), one.utterance.id) for one in usable)
    advice = "fine if it was said more than once; else one of the transcripts is wrong"
    return _counted("duplicate texts", worst, what="transcripts more than once", advice=advice)


def longest_batch_row(usable: Sequence[UsableUtterance], hparams: HParams) -> CheckRow:
    """The largest batch that training will meet, in padded mel frames."""
    if not usable:
        return _nothing("longest batch")
    longest = max(usable, key=lambda one: one.audio.seconds)
    frames = 1 + int(longest.audio.seconds * hparams.sampling_rate / hparams.hop_length)
    rows = max(1, min(hparams.batch_size, len(usable), hparams.max_frames_per_batch // frames))
    finding = f"{rows} x {frames} = {rows * frames} frames ({longest.utterance.id}, {longest.audio.seconds:.1f} s)"
    if frames > hparams.max_frames_per_batch:
        advice = "one utterance alone is beyond max_frames_per_batch: raise that or lower max_utterance_seconds"
        return CheckRow("longest batch", "warn", finding, advice)
    return CheckRow("longest batch", "ok", finding)


def amount_row(usable: Sequence[UsableUtterance]) -> CheckRow:
    """How much speech there is, and how it is cut."""
    seconds = np.array([one.audio.seconds for one in usable])
    if len(seconds) == 0:
        return _nothing("speech")
    low, middle, high = np.percentile(seconds, (5, 50, 95))
    hours = float(seconds.sum()) / 3600
    finding = f"{hours:.2f} h; utterances of {low:.1f} to {high:.1f} s, median {middle:.1f} s"
    if hours < LITTLE_SPEECH_HOURS:
        return CheckRow("speech", "warn", finding, "too little to learn from nothing: --warm_start a trained voice")
    return CheckRow("speech", "ok", finding)


def _counted(name: str, worst: tuple[str, ...], *, what: str, advice: str, note: str = "") -> CheckRow:
    """A row that is fine when nothing was found, and a warning with the first names otherwise."""
    if not worst:
        return CheckRow(name, "ok", note or "nothing found")
    finding = f"{len(worst)} {what}" + (f" ({note})" if note else "")
    return CheckRow(name, "warn", finding, advice, worst[:SHOWN_WORST])


def _nothing(name: str) -> CheckRow:
    """A row that has nothing to judge."""
    return CheckRow(name, "ok", "nothing to look at")


def _repeated(keyed_ids: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Name the ids that share a key."""
    groups = defaultdict(list)
    for key, id in keyed_ids:
        groups[key].append(id)
    return tuple(" = ".join(ids) for ids in groups.values() if len(ids) > 1)
