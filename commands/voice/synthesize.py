"""--mode synthesize: speak with a trained voice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from commands.console import open_console
from commands.options import TrainOptions
from commands.run.corpus import read_lines, read_text
from commands.run.job import choose_device, option_values, set_up_processor
from commands.run.run_folder import make_writable
from commands.voice.validate import find_voice_file
from corpus.audio.recording import write_wave
from corpus.audio.wave_writer import WaveWriter
from corpus.text.lexicon import merge, read_lexicon
from files import atomic_replacement, write_atomically
from hparams import UserError, parse_overrides
from speech.speakers import choose_speaker
from speech.subtitles import subtitles
from speech.synthesizer import Synthesizer, silence
from speech.voice import load_voice


def run(options: TrainOptions) -> int:
    _check(options)
    console = open_console()
    path = find_voice_file(options)
    voice = load_voice(path, parse_overrides(options.hparams), option_values(options))
    if options.lexicon is not None:
        lexicon = merge(voice.hparams.lexicon, read_lexicon(options.lexicon))
        voice = replace(voice, hparams=voice.hparams.model_copy(update={"lexicon": lexicon}))
    console.print(f"voice {path}: {voice.hparams.model}, {voice.hparams.language}, step {voice.step:,}", soft_wrap=True)
    synthesizer = Synthesizer(voice, choose_device(options.device))
    choose_speaker(options.speaker, voice.hparams)
    set_up_processor(voice.hparams)
    if _is_one_file(options):
        text = str(options.text) if options.text_file is None else read_text(options.text_file, "--text_file")
        _speak_into_one_file(synthesizer, text, options, console)
    else:
        assert options.text_file is not None
        _speak_into_files(synthesizer, read_lines(options.text_file, "--text_file"), options, console)
    return 0


def _check(options: TrainOptions) -> None:
    if (options.text is None) == (options.text_file is None) or options.out is None:
        raise UserError(
            '--mode synthesize: expected --text "…" --out x.wav, --text_file FILE --out FOLDER/, '
            "or --text_file FILE --out book.wav"
        )
    if not _is_one_file(options) and (options.stream or options.timings):
        raise UserError("--stream, --timings: expected one sound, like --out book.wav, not a folder of sounds")


def _is_one_file(options: TrainOptions) -> bool:
    assert options.out is not None
    return options.text_file is None or options.out.suffix.lower() == ".wav"


def _speak_into_files(synthesizer: Synthesizer, lines: list[str], options: TrainOptions, console: Console) -> None:
    """Speak each line into a file 000.wav, 001.wav, … of its own."""
    assert options.out is not None
    make_writable(options.out)
    waves = synthesizer.speak(lines, speaker=options.speaker, speed=options.speed, warn=console.print)
    if not any(map(len, waves)):
        raise UserError(f"--text_file {options.text_file}: no line holds anything that can be spoken by this voice")
    for i, wave in enumerate(waves):
        if not len(wave):
            continue  # it was named
        path = options.out / f"{i:03d}.wav"
        write_wave(path, wave, synthesizer.hparams.sampling_rate)
        console.print(f"{path}: {len(wave) / synthesizer.hparams.sampling_rate:.2f} s")


def _speak_into_one_file(synthesizer: Synthesizer, text: str, options: TrainOptions, console: Console) -> None:
    """Speak a text of any length into one file, unit by unit."""
    out, rate = options.out, synthesizer.hparams.sampling_rate
    assert out is not None
    if out.is_dir():
        raise UserError(f"--out {out}: is a folder; expected a file like x.wav")
    make_writable(out.parent)
    units = synthesizer.stream(text, speaker=options.speaker, speed=options.speed, warn=console.print)
    cues, samples, pause = [], 0, 0.0
    with _writer(out, rate, is_stream=options.stream) as writer:
        for unit in units:
            samples += writer.write(silence(pause, rate))
            start = samples
            samples += writer.write(unit.wave)
            cues.append((start / rate, samples / rate, unit.text))
            pause = unit.pause_seconds
    console.print(f"{out}: {samples / rate:.2f} s")
    if options.timings:
        write_atomically(out.with_suffix(".srt"), subtitles(cues).encode())
        console.print(str(out.with_suffix(".srt")))


@contextmanager
def _writer(out: Path, rate: int, *, is_stream: bool) -> Iterator[WaveWriter]:
    """Writer of a WAV file that appears whole at the end; a stream's grows under its own name, to be played at once."""
    if is_stream:
        with WaveWriter(out, rate) as writer:
            yield writer
        return
    with atomic_replacement(out) as temporary, WaveWriter(temporary, rate) as writer:
        yield writer
