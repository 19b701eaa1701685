"""--mode synthesize: speak with a trained voice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from commands.console import open_console
from commands.options import TrainOptions
from commands.run.corpus import encode_sentence, read_lines
from commands.run.job import set_up_processor
from commands.run.recipe import choose_device, given_options
from commands.run.run_folder import make_writable
from commands.run.speakers import chosen_speaker
from commands.voice.validate import voice_file
from corpus.audio.mel import write_wave
from corpus.text.frontend import TextFrontend, text_frontend
from hparams import UserError, parse_overrides
from models.vocoders.griffin_lim import griffin_lim
from models.weights import require_compatible
from speech.voice import Voice, load_voice
from training.evaluation import Sentence, evaluation_mode, speak

PAUSE_SECONDS = 0.2  # between the sentences of one text
SENTENCE_END = re.compile(r"(?<=[.!?…])\s+")


def run(options: TrainOptions) -> int:
    if (options.text is None) == (options.text_file is None) or options.out is None:
        raise UserError('--mode synthesize: expected --text "…" --out x.wav, or --text_file FILE --out FOLDER/')
    console = open_console()
    voice = load_voice(voice_file(options), parse_overrides(options.hparams), given_options(options))
    frontend = text_frontend(voice.hparams)
    require_compatible(voice.origin, voice.hparams, frontend.symbols)
    speaker = chosen_speaker(options.speaker, voice.hparams)
    texts = read_lines(options.text_file, "--text_file") if options.text_file is not None else [str(options.text)]
    paths = output_paths(options.out, n_files=None if options.text_file is None else len(texts))
    device = choose_device(options.device)
    set_up_processor(voice.hparams)
    waves = speak_texts(voice, frontend, texts, speaker=speaker, device=device, console=console)
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


def speak_texts(
    voice: Voice,
    frontend: TextFrontend,
    texts: list[str],
    *,
    speaker: Mapping[str, np.ndarray],
    device: torch.device,
    console: Console,
) -> list[np.ndarray]:
    """One wave [samples] a text; long texts are spoken sentence by sentence."""
    sentences: list[list[Sentence]] = []
    for i, text in enumerate(texts):
        for symbol in frontend.unknown(text):
            console.print(f"text {i}: symbol {symbol!r} is not in the voice's symbol set; it is left out")
        parts = [part for part in SENTENCE_END.split(text.strip()) if frontend.encode(part)] or [text]
        sentences.append([encode_sentence(f"{i}-{j}", part, frontend, speaker) for j, part in enumerate(parts)])
    with evaluation_mode(voice.model.to(device), voice.hparams.seed):
        flat = [sentence for row in sentences for sentence in row]
        spoken = {report.id: report for report in speak(voice.model, flat, voice.hparams.batch_size)}
    for report in spoken.values():
        if not report.stopped:
            console.print(f"{report.text[:60]!r}: the voice did not end by itself and was cut")
    if any(not np.isfinite(report.free_mel).all() for report in spoken.values()):
        raise UserError(
            f"{voice.origin.path}: what this voice says are no numbers; use an earlier checkpoint, --resume"
        )
    pause = np.zeros(round(PAUSE_SECONDS * voice.hparams.sampling_rate), dtype=np.float32)
    waves = []
    for row in sentences:
        mels = [torch.from_numpy(spoken[sentence.id].free_mel) for sentence in row]
        pieces = [piece for mel in mels for piece in (pause, griffin_lim(mel, voice.hparams).numpy())]
        waves.append(np.concatenate(pieces[1:]))
    return waves
