from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from corpus import mel_cache
from corpus.check.corpus_check import CheckReport, check_corpus, render_report
from corpus.check.rules import CheckRow
from corpus.mel_cache import MelCache
from corpus.text.frontend import TextFrontend
from corpus.utterances import Corpus, SkippedEntry, Utterance
from hparams import HParams

RATE = 22050
LETTERS = TextFrontend("de", "graphemes", tuple("abcdefghijklmnopqrstuvwxyz ."))


def speech(seconds: float, *, seed: int, rate: int = RATE) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(int(seconds * rate)).clip(-5, 5)


@pytest.fixture
def good(tmp_path: Path) -> list[Utterance]:
    """Eight utterances of 1.0 to 1.7 s, spoken at ten letters a second."""
    utterances = []
    for n in range(8):
        seconds = 1 + n / 10
        text = chr(ord("a") + n) * round(10 * seconds)
        utterances.append(utterance(tmp_path / f"good{n}.wav", speech(seconds, seed=n), text=text))
    return utterances


def utterance(path: Path, wave: np.ndarray, *, text: str, rate: int = RATE) -> Utterance:
    soundfile.write(path, wave, rate)
    return Utterance(path.stem, path, text)


def check(
    utterances: list[Utterance],
    *,
    skipped: tuple[SkippedEntry, ...] = (),
    cache: Path | None = None,
    hparams: HParams | None = None,
) -> CheckReport:
    corpus = Corpus("ljspeech", tuple(utterances), skipped)
    return check_corpus(corpus, hparams or HParams(), frontend=LETTERS, cache_folder=cache, workers=2)


def row(report: CheckReport, name: str) -> CheckRow:
    return next(row for row in report.rows if row.name == name)


def names_not_ok(report: CheckReport) -> set[str]:
    return {row.name for row in report.rows if row.verdict != "ok"} - {"speech"}


def test_a_good_corpus_is_a_go_without_a_warning(good: list[Utterance]) -> None:
    report = check(good)
    assert report.go and names_not_ok(report) == set()
    assert (report.n_utterances, report.n_usable) == (8, 8)
    assert report.hours * 3600 == pytest.approx(sum(1 + n / 10 for n in range(8)), rel=0.01)
    assert sum(bin.count for bin in report.durations) == 8
    assert report.durations[0].from_seconds == pytest.approx(1, abs=0.03)


def test_too_little_speech_is_a_warning(good: list[Utterance]) -> None:
    assert row(check(good), "speech").verdict == "warn"
    assert "--warm_start" in row(check(good), "speech").advice


def test_unreadable_and_silent_recordings_are_listed(good: list[Utterance], tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    silent = utterance(tmp_path / "silent.wav", np.zeros(RATE), text="text")
    report = check([*good, Utterance("empty", tmp_path / "empty.wav", "text"), silent])
    assert report.go and report.n_usable == 8
    assert names_not_ok(report) == {"usable", "recordings"}
    names = [name.split(":")[0] for name in row(report, "recordings").worst]
    assert names == ["empty", "silent"]


def test_too_short_and_too_long_recordings_are_listed(good: list[Utterance], tmp_path: Path) -> None:
    short = utterance(tmp_path / "short.wav", speech(0.1, seed=50), text="a")
    long = utterance(tmp_path / "long.wav", speech(21.0, seed=51), text="a" * 210)
    report = check([*good, short, long])
    assert names_not_ok(report) == {"usable", "length"}
    assert row(report, "length").worst == (
        "short: too short: 0.10 s after trimming, at least 0.2 s are needed (min_utterance_seconds)",
        "long: too long: 21.00 s after trimming, at most 20 s are allowed (max_utterance_seconds)",
    )


def test_skipped_metadata_rows_are_listed(good: list[Utterance]) -> None:
    report = check(good, skipped=(SkippedEntry("metadata.csv:3", "the transcript is empty"),))
    assert report.n_utterances == 9 and names_not_ok(report) == {"usable", "metadata"}
    assert row(report, "metadata").worst == ("metadata.csv:3: the transcript is empty",)


def test_unknown_symbols_are_counted_with_an_example(good: list[Utterance], tmp_path: Path) -> None:
    odd = [
        utterance(tmp_path / "odd1.wav", speech(1, seed=60), text="naïve naïve"),
        utterance(tmp_path / "odd2.wav", speech(1, seed=61), text="naïve girl☃"),
    ]
    report = check([*good, *odd])
    assert names_not_ok(report) == {"unknown symbols"}
    assert row(report, "unknown symbols").worst == ("'ï': 3 times, first in odd1", "'☃': 1 times, first in odd2")


def test_transcripts_without_known_letters_are_unusable(good: list[Utterance], tmp_path: Path) -> None:
    russian = utterance(tmp_path / "ru.wav", speech(1, seed=70), text="привет")
    report = check([*good, russian])
    assert report.n_usable == 8 and row(report, "transcripts").worst[0].startswith("ru: ")


def test_utterances_with_more_symbols_than_frames_are_listed_if_the_model_cannot_align_them(
    good: list[Utterance], tmp_path: Path
) -> None:
    fast = utterance(tmp_path / "fast.wav", speech(1, seed=70), text="a" * 100)  # 86 frames
    assert row(check([*good, fast]), "transcripts").worst == ()
    report = check([*good, fast], hparams=HParams(model="glow_tts"))
    assert report.n_usable == 8
    (problem,) = row(report, "transcripts").worst
    assert problem.startswith("fast: 100 symbols in 8") and problem.endswith("glow_tts needs a frame for each")


def test_a_corpus_in_another_language_is_a_no_go(good: list[Utterance]) -> None:
    report = check([Utterance(u.id, u.audio_path, "привет") for u in good])
    assert not report.go and row(report, "usable").verdict == "stop"


def test_fewer_than_two_or_less_than_half_usable_is_a_no_go(good: list[Utterance], tmp_path: Path) -> None:
    assert not check(good[:1]).go
    assert not check([]).go
    absent = [Utterance(f"absent{n}", tmp_path / "absent.wav", "text") for n in range(8)]
    assert check([*good, *absent]).go
    assert not check([*good[:7], *absent]).go


@pytest.mark.parametrize("text", ["ab", "a" * 40])
def test_a_wrong_transcript_is_found_by_its_speaking_rate(good: list[Utterance], tmp_path: Path, text: str) -> None:
    wrong = utterance(tmp_path / "wrong.wav", speech(1.4, seed=80), text=text)
    report = check([*good, wrong])
    assert names_not_ok(report) == {"speaking rate"}
    assert [name.split(":")[0] for name in row(report, "speaking rate").worst] == ["wrong"]
    assert "usual: 10." in row(report, "speaking rate").finding or "usual: 9." in row(report, "speaking rate").finding


def test_spaces_do_not_count_as_characters(good: list[Utterance]) -> None:
    spaced = [Utterance(u.id, u.audio_path, " ".join(u.text)) for u in good]
    assert row(check(spaced), "speaking rate") == row(check(good), "speaking rate")


def test_small_differences_of_an_even_speaker_give_no_warning(good: list[Utterance], tmp_path: Path) -> None:
    brisk = utterance(tmp_path / "brisk.wav", speech(1.0, seed=81), text="a" * 13)
    assert names_not_ok(check([*good, brisk])) == set()


def test_an_uneven_speaker_is_judged_by_their_own_spread(good: list[Utterance]) -> None:
    uneven = [
        Utterance(u.id, u.audio_path, letter * n)
        for n, letter, u in zip(range(7, 40, 4), "abcdefgh", good, strict=False)
    ]
    assert names_not_ok(check(uneven)) == set()


def test_long_silence_at_an_edge_is_listed_with_its_length(good: list[Utterance], tmp_path: Path) -> None:
    wave = np.concatenate([speech(1, seed=90), np.zeros(2 * RATE)])
    report = check([*good, utterance(tmp_path / "late.wav", wave, text="z" * 10)])
    assert names_not_ok(report) == {"silent edges"}
    assert row(report, "silent edges").worst == ("late: 1.94 s",)


def test_clipping_is_listed_with_its_share(good: list[Utterance], tmp_path: Path) -> None:
    wave = np.clip(10 * speech(1, seed=91), -1, 1)
    report = check([*good, utterance(tmp_path / "loud.wav", wave, text="z" * 10)])
    assert names_not_ok(report) == {"clipping"} and row(report, "clipping").worst[0].startswith("loud: 3")


def test_mixed_and_low_sampling_rates_give_a_warning(good: list[Utterance], tmp_path: Path) -> None:
    high = utterance(tmp_path / "high.wav", speech(1, seed=92, rate=44100), text="z" * 10, rate=44100)
    low = utterance(tmp_path / "low.wav", speech(1, seed=93, rate=8000), text="y" * 10, rate=8000)
    mixed = row(check([*good, high]), "sampling rates")
    assert (mixed.verdict, mixed.worst) == ("warn", ("high: 44100 Hz",))
    assert mixed.finding == "8 at 22050 Hz, 1 at 44100 Hz"
    treble_missing = row(check([*good, low]), "sampling rates")
    assert treble_missing.worst == ("low: 8000 Hz",) and "treble" in treble_missing.advice
    mostly_low = [Utterance(f"low{n}", low.audio_path, "y" * 10) for n in range(2)]
    assert row(check([*mostly_low, good[0]]), "sampling rates").worst[:2] == ("low0: 8000 Hz", "low1: 8000 Hz")


def test_duplicate_recordings_and_texts_are_found(good: list[Utterance], tmp_path: Path) -> None:
    same_text = utterance(tmp_path / "b.wav", speech(1.1, seed=94), text=f" {good[1].text.upper()}")
    same_audio = utterance(tmp_path / "c.wav", soundfile.read(good[2].audio_path)[0], text="z" * 12)
    report = check([*good, same_text, same_audio])
    assert names_not_ok(report) == {"duplicate audio", "duplicate texts"}
    assert row(report, "duplicate audio").worst == ("good2 = c",)
    assert row(report, "duplicate texts").worst == ("good1 = b",)


def test_the_longest_batch_is_computed_from_the_batch_limits(good: list[Utterance]) -> None:
    corpus = Corpus("ljspeech", tuple(good), ())
    for hparams, n_utterances, verdict in (
        (HParams(batch_size=4), 4, "ok"),
        (HParams(batch_size=100), 8, "ok"),
        (HParams(max_frames_per_batch=2 * 147 + 100), 2, "ok"),
        (HParams(max_frames_per_batch=100), 1, "warn"),
    ):
        report = check_corpus(corpus, hparams, frontend=LETTERS, cache_folder=None, workers=1)
        assert (
            row(report, "longest batch").finding == f"{n_utterances} x 147 = {n_utterances * 147} frames (good7, 1.7 s)"
        )
        assert row(report, "longest batch").verdict == verdict


def test_only_the_worst_are_shown_but_all_are_counted(good: list[Utterance], tmp_path: Path) -> None:
    absent = [Utterance(f"absent{n}", tmp_path / "absent.wav", "text") for n in range(25)]
    recordings = row(check([*good, *absent]), "recordings")
    assert recordings.finding.startswith("25 ") and len(recordings.worst) == 10


def test_mels_of_the_check_are_cached_for_training(
    good: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(good, cache=tmp_path / "cache")
    monkeypatch.setattr(mel_cache, "read_recording", None)
    cache = MelCache(tmp_path / "cache", HParams())
    assert cache.mel(good[0]).shape == (80, 1 + RATE // 256)


def test_the_report_can_be_written_as_json_and_as_plain_text(good: list[Utterance]) -> None:
    report = check(good, skipped=(SkippedEntry("evil\x1b[2J\n:1", "broken"),))
    assert json.loads(json.dumps(report.to_json()))["go"] is True
    text = render_report(report)
    assert "\x1b" not in text and text.endswith("\ngo")
    assert all(
        any(line.startswith(f"{row.verdict:<5} {row.name}") for line in text.splitlines()) for row in report.rows
    )
    assert render_report(check([])).endswith("no-go: see the rows marked stop")
