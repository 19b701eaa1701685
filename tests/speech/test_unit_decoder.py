from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from hparams import HParams
from reports import SentenceReport
from speech.decode_check import Pace
from speech.decoding import Sentence
from speech.unit_decoder import MAX_DEPTH, RETRIES, DecodedUnit, UnitDecoder

PACE = Pace(symbol_seconds=0.08, frame_seconds=0.0116, step_seconds=0.0348)
N_SYMBOLS = 40


class Attentive:
    """In place of a model: only what a decoder asks of one."""

    HAS_ATTENTION, frames_per_step = True, 3


def report(positions: np.ndarray, text: str = "one two", *, stopped: bool = True) -> SentenceReport:
    """A decode whose attention follows these symbols."""
    attention = np.zeros((len(positions), N_SYMBOLS))
    attention[np.arange(len(positions)), positions] = 1.0
    return SentenceReport(
        id="x",
        text=text,
        symbol_ids=tuple(range(N_SYMBOLS)),
        free_attention=attention,
        free_mel=np.zeros((4, 3 * len(positions))),
        stopped=stopped,
    )


GOOD = np.repeat(np.arange(N_SYMBOLS), 2)
SKIPPING = np.concatenate([GOOD[:20], GOOD[50:], GOOD[-1:].repeat(10)])
RESTING = np.concatenate([GOOD, np.full(60, N_SYMBOLS - 1)])


def decode(
    monkeypatch: pytest.MonkeyPatch, attempts: Mapping[str, list[SentenceReport]], text: str = "one two"
) -> tuple[DecodedUnit, list[str]]:
    """Decode a text whose attempts have these results, the last one again and again; return the texts decoded."""
    decoded: list[str] = []

    def run(_: UnitDecoder, sentences: list[Sentence], attempt: int) -> list[SentenceReport]:
        decoded.extend(sentence.text for sentence in sentences)
        return [attempts[s.text][min(attempt, len(attempts[s.text]) - 1)] for s in sentences]

    monkeypatch.setattr(UnitDecoder, "_run", run)
    decoder = UnitDecoder(Attentive(), HParams(), PACE, lambda id_, part, whole: Sentence(id_, part, whole.symbol_ids))  # type: ignore[arg-type]
    (unit,) = decoder.decode([Sentence("x", text, tuple(range(N_SYMBOLS)))])
    return unit, decoded


def test_a_good_decode_is_kept_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    unit, decoded = decode(monkeypatch, {"one two": [report(GOOD)]})
    assert unit.mel.shape[1] == 3 * len(GOOD) and not unit.fault.reason and decoded == ["one two"]


def test_a_decode_that_does_not_end_is_cut_where_its_attention_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    unit, decoded = decode(monkeypatch, {"one two": [report(RESTING, stopped=False)]})
    assert len(GOOD) - 4 <= unit.mel.shape[1] / 3 <= len(GOOD) + 6
    assert not unit.fault.reason and decoded == ["one two"]


def test_the_best_attempt_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    unit, decoded = decode(monkeypatch, {"one two": [report(SKIPPING), report(SKIPPING, stopped=False), report(GOOD)]})
    assert not unit.fault.reason and len(decoded) == 3


def test_what_no_attempt_says_well_is_said_in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = {"one two": [report(SKIPPING)], "one": [report(GOOD)], "two": [report(GOOD)]}
    unit, decoded = decode(monkeypatch, attempts)
    assert unit.mel.shape[1] == 2 * 3 * len(GOOD) and not unit.fault.reason
    assert decoded == ["one two"] * (1 + RETRIES) + ["one", "two"]


def test_what_fails_in_halves_too_is_reported_and_said_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["a", "b", "c", "d", "e", "f", "g", "h"]
    texts = [words[i : i + n] for n in (8, 4, 2, 1) for i in range(0, 8, n)]
    unit, decoded = decode(monkeypatch, {" ".join(t): [report(SKIPPING)] for t in texts}, " ".join(words))
    assert unit.fault.reason == "skips words" and unit.mel.shape[1] == 3 * len(SKIPPING)
    assert min(len(text.split()) for text in decoded) == 8 // 2**MAX_DEPTH
