"""--mode synthesize: speak with a trained voice."""

from __future__ import annotations

from pathlib import Path

from commands.console import open_console
from commands.options import TrainOptions
from commands.run.corpus import read_lines
from commands.run.job import choose_device, option_values, set_up_processor
from commands.run.run_folder import make_writable
from commands.voice.validate import find_voice_file
from corpus.audio.recording import write_wave
from hparams import UserError, parse_overrides
from speech.speakers import choose_speaker
from speech.synthesizer import Synthesizer
from speech.voice import load_voice


def run(options: TrainOptions) -> int:
    if (options.text is None) == (options.text_file is None) or options.out is None:
        raise UserError('--mode synthesize: expected --text "…" --out x.wav, or --text_file FILE --out FOLDER/')
    console = open_console()
    path = find_voice_file(options)
    voice = load_voice(path, parse_overrides(options.hparams), option_values(options))
    console.print(f"voice {path}: {voice.hparams.model}, {voice.hparams.language}, step {voice.step:,}", soft_wrap=True)
    synthesizer = Synthesizer(voice, choose_device(options.device))
    speaker = choose_speaker(options.speaker, voice.hparams)
    texts = read_lines(options.text_file, "--text_file") if options.text_file is not None else [str(options.text)]
    paths = output_paths(options.out, n_files=None if options.text_file is None else len(texts))
    set_up_processor(voice.hparams)
    waves = synthesizer.speak(texts, speaker=speaker, warn=console.print)
    for path, wave in zip(paths, waves, strict=True):
        write_wave(path, wave, voice.hparams.sampling_rate)
        console.print(f"{path}: {len(wave) / voice.hparams.sampling_rate:.2f} s")
    return 0


def output_paths(out: Path, *, n_files: int | None) -> list[Path]:
    """Paths 000.wav, 001.wav, … in the folder `out`, or `out` itself for a single text (n_files=None)."""
    if n_files is not None:
        make_writable(out)
        return [out / f"{i:03d}.wav" for i in range(n_files)]
    if out.is_dir():
        raise UserError(f"--out {out}: is a folder; expected a file like x.wav")
    make_writable(out.parent)
    return [out]
