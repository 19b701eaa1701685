"""--mode synthesize writes one wave for each text."""

from __future__ import annotations

from pathlib import Path

import soundfile
import torch

from tests.support.program import Program, newest


def test_a_text_is_written_as_a_wave(program: Program, run: Path, tmp_path: Path) -> None:
    outcome = program(
        "--mode", "synthesize", "--run", run, "--text", "Good words.", "--out", tmp_path / "new" / "x.wav"
    )
    assert outcome.code == 0, outcome.err
    info = soundfile.info(tmp_path / "new" / "x.wav")
    assert (info.samplerate, info.channels) == (22_050, 1)
    assert info.frames > 0


def test_the_latest_run_is_the_default(program: Program, run: Path, tmp_path: Path) -> None:
    named, latest = tmp_path / "named.wav", tmp_path / "latest.wav"
    assert program("--mode", "synthesize", "--run", run, "--text", "Words.", "--out", named).code == 0
    assert program("--mode", "synthesize", "--text", "Words.", "--out", latest).code == 0
    assert named.read_bytes() == latest.read_bytes()


def test_a_checkpoint_can_speak(program: Program, run: Path, tmp_path: Path) -> None:
    arguments = ["--resume", newest(run), "--text", "Words.", "--out", tmp_path / "x.wav"]
    assert program("--mode", "synthesize", *arguments).code == 0


def test_two_sentences_are_separated_by_a_pause(program: Program, data: Path, tmp_path: Path) -> None:
    program.trained(data, gate_threshold=0.99)  # so every sentence has the greatest length
    for name, text in (("one", "Good words."), ("two", "Good words. Good words.")):
        assert program("--mode", "synthesize", "--text", text, "--out", tmp_path / f"{name}.wav").code == 0
    one, two = (soundfile.info(tmp_path / f"{name}.wav").frames for name in ("one", "two"))
    assert one > 0 and two == 2 * one + round(0.35 * 22_050)


def test_the_lines_of_a_file_become_numbered_waves(program: Program, run: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("First.\n\nSecond.\nThird.\n", encoding="utf-8")
    outcome = program("--mode", "synthesize", "--text_file", tmp_path / "texts.txt", "--out", tmp_path / "spoken")
    assert outcome.code == 0
    assert sorted(path.name for path in (tmp_path / "spoken").iterdir()) == ["000.wav", "001.wav", "002.wav"]


def test_a_text_becomes_one_sound_with_subtitles(program: Program, run: Path, tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("First words.\nSecond [pause 1] words, third.\n", encoding="utf-8")
    for name, options in (("book.wav", ["--timings"]), ("stream.wav", ["--stream"])):
        arguments = ["--text_file", tmp_path / "book.txt", "--out", tmp_path / name, *options]
        assert program("--mode", "synthesize", *arguments).code == 0
    sounds = [soundfile.read(tmp_path / name)[0] for name in ("book.wav", "stream.wav")]
    assert (sounds[0] == sounds[1]).all()
    cues = (tmp_path / "book.srt").read_text().split("\n\n")
    assert [cue.splitlines()[0] for cue in cues] == ["1", "2", "3"] and "First words." in cues[0]
    assert not (tmp_path / "stream.srt").exists()
    refused = ["--text_file", tmp_path / "book.txt", "--out", tmp_path / "folder", "--timings"]
    program("--mode", "synthesize", *refused).refused("expected one sound")
    program("--mode", "synthesize", "--text", "x", "--out", tmp_path / "x.wav", "--speed", 2).refused("no durations")


def test_unknown_symbols_are_reported(program: Program, run: Path, tmp_path: Path) -> None:
    outcome = program("--mode", "synthesize", "--text", "Good ☃ words.", "--out", tmp_path / "x.wav")
    assert outcome.code == 0
    assert "left out, since this voice cannot say it: ☃" in outcome.out


def test_a_line_that_cannot_be_said_does_not_keep_the_others_from_it(
    program: Program, run: Path, tmp_path: Path
) -> None:
    (tmp_path / "lines.txt").write_text("Good words.\n☃\nMore.\n", encoding="utf-8")
    outcome = program("--mode", "synthesize", "--text_file", tmp_path / "lines.txt", "--out", tmp_path / "out")
    assert outcome.code == 0 and sorted(path.name for path in (tmp_path / "out").iterdir()) == ["000.wav", "002.wav"]
    assert "text 1: '☃' holds nothing" in outcome.flat
    (tmp_path / "lines.txt").write_text("☃\n", encoding="utf-8")
    program("--mode", "synthesize", "--text_file", tmp_path / "lines.txt", "--out", tmp_path / "out").refused(
        "nothing that can be spoken"
    )


def test_wrong_options_are_refused(program: Program, run: Path, tmp_path: Path) -> None:
    wave = tmp_path / "x.wav"
    program("--mode", "synthesize", "--text", "Words.").refused("--out")
    program("--mode", "synthesize", "--out", wave).refused("--text")
    program("--mode", "synthesize", "--text", "☃", "--out", wave).refused("nothing that can be spoken")
    program("--mode", "synthesize", "--text", "Words.", "--out", tmp_path).refused("is a folder")
    program("--mode", "synthesize", "--text", "Words.", "--out", wave, "--seed", "x").refused("seed")
    program("--mode", "synthesize", "--text_file", tmp_path / "no.txt", "--out", tmp_path).refused("no.txt")
    (tmp_path / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
    program("--mode", "synthesize", "--text_file", tmp_path / "latin.txt", "--out", tmp_path).refused("UTF-8")
    assert not wave.exists()


def test_settings_but_those_of_audio_and_symbols_can_be_overridden(program: Program, run: Path, tmp_path: Path) -> None:
    def frames(*arguments: object) -> int:
        wave = tmp_path / "x.wav"
        outcome = program("--mode", "synthesize", "--run", run, "--text", "Words.", "--out", wave, *arguments)
        assert outcome.code == 0, outcome.err
        return soundfile.info(wave).frames

    never = "gate_threshold=1.0"  # attention that rests at the end for long ends it all the same
    assert frames("--hparams", f"{never},max_decoder_steps=2") < frames("--hparams", f"{never},max_decoder_steps=9")
    refuse = ("--mode", "synthesize", "--run", run, "--text", "Words.", "--out", tmp_path / "y.wav")
    program(*refuse, "--hparams", "hop_length=200").refused(
        "does not fit: hop_length is 256 in the checkpoint, 200 here"
    )
    program(*refuse, "--language", "ru").refused("symbols")


def test_the_number_of_threads_is_that_of_the_recipe(program: Program, run: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        arguments = ["--run", run, "--text", "Words.", "--out", tmp_path / "x.wav", "--hparams", "cpu_threads=1"]
        assert program("--mode", "synthesize", *arguments).code == 0
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_lexicon_is_kept_with_the_voice_and_another_adds_to_it(program: Program, data: Path, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("good\tgud\n", encoding="utf-8")
    (tmp_path / "two.txt").write_text("words\twurds\n", encoding="utf-8")
    run = program.trained(data, "--lexicon", tmp_path / "one.txt", "--max_steps", 1)
    speak = ("--mode", "synthesize", "--run", run, "--text", "Good words.", "--out", tmp_path / "x.wav")
    assert program(*speak, "--lexicon", tmp_path / "two.txt").code == 0
    program(*speak, "--lexicon", tmp_path / "no.txt").refused("no.txt: cannot be read")
    assert '"good\\tgud"' in (run / "hparams.json").read_text()
