"""The best voice of a run, for speaking while the run is being trained."""

from __future__ import annotations

from pathlib import Path

import torch

from commands.run.run_folder import best_voice_file
from corpus.audio.recording import write_wave
from hparams import UserError
from speech.synthesizer import Synthesizer
from speech.voice import load_voice


class BestVoice:
    """Speaks with the best voice of a run; the voice stays loaded as long as its file does not change."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._loaded: tuple[tuple[Path, int, int], Synthesizer] | None = None  # with the file's path, time and size

    def speak(self, text: str, path: Path) -> None:
        """Write the text as a WAV file; raise ValueError if there is no voice or it cannot speak the text."""
        try:
            synthesizer = self._load()
            (wave,) = synthesizer.speak([text])
            write_wave(path, wave, synthesizer.hparams.sampling_rate)
        except (UserError, FileNotFoundError) as error:  # the trainer may have replaced the file by now
            raise ValueError(str(error)) from error

    def _load(self) -> Synthesizer:
        file = best_voice_file(self._run)
        status = file.stat()
        version = (file, status.st_mtime_ns, status.st_size)
        if self._loaded is None or self._loaded[0] != version:
            self._loaded = None  # frees the old voice before the new one is loaded
            self._loaded = version, Synthesizer(load_voice(file), torch.device("cpu"))
        return self._loaded[1]
