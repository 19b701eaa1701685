"""Bad recordings and rows are skipped with a reason; a corpus without usable recordings is refused in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from string import ascii_lowercase

import numpy as np
import pytest
import soundfile

from commands.data import check
from corpus.utterances import read_corpus
from tests.support.program import RATE, Program, good_clips, journal, tiny, tone, write_metadata
from tests.support.tiny import GLOW

Maker = Callable[[Path], object]


def _header_only(path: Path) -> None:
    soundfile.write(path, np.zeros(0), RATE)


def _truncated(path: Path) -> None:
    soundfile.write(path, tone(1.0), RATE)
    path.write_bytes(path.read_bytes()[:20_000])


def _with_nan(path: Path) -> None:
    wave = tone(1.0)
    wave[100] = np.nan
    soundfile.write(path, wave, RATE, subtype="FLOAT")


def _no_audio(path: Path) -> None:
    path.write_bytes(b"a text file with the name of a recording" * 50)


BAD_CLIPS: dict[str, tuple[Maker, str]] = {
    "zero_length": (lambda path: path.write_bytes(b""), "not readable"),
    "header_only": (_header_only, "empty"),
    "truncated": (_truncated, "truncated"),
    "no_audio": (_no_audio, "not readable"),
    "nan": (_with_nan, "NaN"),
    "silence": (lambda path: soundfile.write(path, np.zeros(RATE), RATE), "silence"),
    "minute": (lambda path: soundfile.write(path, tone(60.0), RATE), "too long"),
    "blink": (lambda path: soundfile.write(path, tone(0.1), RATE), "too short"),
}
BAD_ROWS = {
    "absent": ("absent|no such recording", "no audio file"),
    "no_text": ("good0b|", "empty"),
    "unknown_only": ("good1b|☃☃☃", "nothing that can be spoken"),
    "broken": ("just words without a bar", "columns"),
    "twice": ("good0|the same id again", "duplicate id 'good0'"),
}
GOOD_CLIPS: dict[str, Maker] = {
    "eight_bit": lambda path: soundfile.write(path, tone(1.0), RATE, subtype="PCM_U8"),
    "twenty_four_bit": lambda path: soundfile.write(path, tone(1.0), RATE, subtype="PCM_24"),
    "float": lambda path: soundfile.write(path, tone(1.0), RATE, subtype="FLOAT"),
    "stereo": lambda path: soundfile.write(path, np.stack([tone(1.0)] * 2, axis=1), RATE),
    "8_khz": lambda path: soundfile.write(path, tone(1.0, 8_000), 8_000),
    "96_khz": lambda path: soundfile.write(path, tone(1.0, 96_000), 96_000),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "recordings"


def test_impossible_numbers_of_speakers_are_refused(program: Program, folder: Path) -> None:
    write_metadata(folder, good_clips(folder, 2))
    program("--data", folder, "--hparams", "num_speakers=2").refused("tacotron2 has one voice")
    several = ("--model", "glow_tts", "--hparams")
    program("--data", folder, *several, "num_speakers=2").refused("names no speakers; leave it at 0")
    program("--data", folder, *several, "num_speakers=1,speakers=a;b").refused(
        "different names, num_speakers=1 at most"
    )


def test_an_utterance_that_a_flow_cannot_align_is_skipped(program: Program, folder: Path) -> None:
    texts = good_clips(folder, 14)
    texts["good0"] = "far too much to say in a second " * 3
    write_metadata(folder, texts)
    glow = {name: value for name, value in GLOW.items() if name != "model"}
    outcome = program("--data", folder, "--run_name", "run", "--model", "glow_tts", "--max_steps", 1, *tiny(**glow))
    assert outcome.code == 0, outcome.err
    (skipped,) = journal(program.output / "run", "skipped")
    assert skipped["utterance"] == "good0" and "glow_tts needs a frame for each" in skipped["reason"]


def test_bad_clips_are_skipped_by_name_and_training_runs(program: Program, folder: Path) -> None:
    texts = good_clips(folder, 14)  # more than half; with fewer, --mode check says no-go
    for i, (name, (make, _)) in enumerate(BAD_CLIPS.items()):
        make(folder / "wavs" / f"{name}.wav")
        texts[name] = f"bad words number {ascii_lowercase[i]}"
    for name in ("good0b", "good1b"):
        soundfile.write(folder / "wavs" / f"{name}.wav", tone(1.0), RATE)
    write_metadata(folder, texts, *[row for row, _ in BAD_ROWS.values()])
    outcome = program.train(folder, "--max_steps", 1)
    assert outcome.code == 0, outcome.err
    reasons = {record["utterance"]: record["reason"] for record in journal(program.output / "run", "skipped")}
    first_bad_row = len(texts) + 1
    expected = {name: reason for name, (_, reason) in BAD_CLIPS.items()}
    expected |= {
        "good1b" if name == "unknown_only" else f"metadata.csv:{first_bad_row + i}": reason
        for i, (name, (_, reason)) in enumerate(BAD_ROWS.items())
    }
    assert reasons.keys() == expected.keys()
    for name, reason in expected.items():
        assert reason in reasons[name], name
        assert f"skipped {name}: {reasons[name]}" in outcome.out
    checked = program("--mode", "check", "--data", folder, *tiny())
    assert checked.code == check.EXIT_GO
    for name in expected:
        assert name in checked.out


def test_all_common_formats_of_recordings_are_used(program: Program, folder: Path) -> None:
    texts = good_clips(folder)
    for i, (name, make) in enumerate(GOOD_CLIPS.items()):
        make(folder / "wavs" / f"{name}.wav")
        texts[name] = f"more words number {ascii_lowercase[i]}"
    write_metadata(folder, texts)
    outcome = program.train(folder, "--max_steps", 1, validation_percent=0)
    assert f"{len(texts)} utterances to train on" in outcome.out
    assert "0 skipped" in outcome.out


@pytest.mark.parametrize("start", ["\ufeff", ""])
@pytest.mark.parametrize("line_end", ["\r\n", "\n"])
def test_byte_order_marks_and_line_ends_of_other_systems_are_read(folder: Path, start: str, line_end: str) -> None:
    texts = good_clips(folder)
    content = start + line_end.join(f"{id_}|{text}" for id_, text in texts.items()) + line_end
    (folder / "metadata.csv").write_bytes(content.encode())
    corpus = read_corpus(str(folder), "auto")
    assert {u.id: u.text for u in corpus.utterances} == texts
    assert not corpus.skipped


def _write(content: bytes) -> Maker:
    return lambda folder: (folder / "metadata.csv").write_bytes(content)


def _one_clip(folder: Path) -> None:
    write_metadata(folder, {"good0": "the only one"})


def _absent_files(folder: Path) -> None:
    write_metadata(folder, {f"absent{i}": "some words" for i in range(4)})


def _all_silent(folder: Path) -> None:
    for path in (folder / "wavs").iterdir():
        soundfile.write(path, np.zeros(RATE), RATE)
    write_metadata(folder, {f"good{i}": "some words" for i in range(4)})


def _all_unknown(folder: Path) -> None:
    write_metadata(folder, {f"good{i}": "☃☃" for i in range(4)})


BAD_CORPORA: dict[str, tuple[Maker, str]] = {
    "missing": (shutil.rmtree, "no such file or folder"),
    "without_metadata": (lambda folder: None, "found no metadata"),
    "empty_metadata": (_write(b""), "is empty"),
    "blank_metadata": (_write(b"\n \n"), "is empty"),
    "latin_1": (_write("good0|caf\xe9\n".encode("latin-1") * 3), r"metadata.csv:1: expected UTF-8"),
    "binary": (_write(bytes(range(256))), "UTF-8"),
    "one_clip": (_one_clip, "at least 2"),
    "absent_files": (_absent_files, "at least 2.*no audio file"),
    "silent": (_all_silent, "at least 2.*silence"),
    "unknown": (_all_unknown, "at least 2.*nothing that can be spoken"),
}


@pytest.mark.parametrize("name", BAD_CORPORA)
def test_an_unusable_corpus_is_refused(program: Program, folder: Path, name: str) -> None:
    damage, message = BAD_CORPORA[name]
    good_clips(folder)
    damage(folder)
    program.train(folder).refused(message)
    assert not (program.output / "run" / "checkpoints").exists()
    assert program("--mode", "check", "--data", folder, *tiny()).code == check.EXIT_NO_GO


def test_recordings_of_very_different_levels_are_brought_to_one(program: Program, tmp_path: Path) -> None:
    clips = good_clips(tmp_path, 8)
    write_metadata(tmp_path, clips)
    for path in sorted((tmp_path / "wavs").iterdir())[::2]:
        wave, rate = soundfile.read(path)
        soundfile.write(path, wave / 100, rate, subtype="FLOAT", format="WAV")
    outcome = program.train(tmp_path, "--max_steps", 1)
    assert "dB: they are brought to one level" in outcome.flat
    assert json.loads((program.output / "run" / "hparams.json").read_text())["speech_level"] == "even"
    for path in (tmp_path / "wavs").iterdir():  # all are quiet now, but the run has begun otherwise
        wave, rate = soundfile.read(path)
        soundfile.write(path, wave / (1 if np.abs(wave).max() < 0.05 else 100), rate, subtype="FLOAT", format="WAV")
    program.trained(tmp_path, "--max_steps", 2)
    assert json.loads((program.output / "run" / "hparams.json").read_text())["speech_level"] == "even"


def test_levels_are_checked_and_can_be_left_as_recorded(program: Program, tmp_path: Path) -> None:
    write_metadata(tmp_path, good_clips(tmp_path, 8))
    for path in sorted((tmp_path / "wavs").iterdir())[::2]:
        wave, rate = soundfile.read(path)
        soundfile.write(path, wave / 100, rate, subtype="FLOAT", format="WAV")
    checked = program("--mode", "check", "--data", tmp_path, *tiny())
    assert "warn levels" in checked.flat and "training brings them to one level" in checked.flat
    assert (
        "brought to one level"
        not in program.train(tmp_path, "--max_steps", 1, run="b", speech_level="as_recorded").flat
    )
