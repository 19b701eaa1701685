"""Telegram as a way to people: with ears, and a voice."""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console

from commands.companion.post import Post, Say
from commands.run.run_folder import best_voice_file
from commands.run.speakers import chosen_speaker
from commands.voice.synthesize import speak_texts
from corpus.audio.mel import write_wave
from corpus.text.frontend import text_frontend
from hparams import UserError
from monitoring.language.base import words_of
from monitoring.messaging.bot_commands import Person
from monitoring.messaging.settings import TelegramSettings
from monitoring.messaging.telegram import TelegramDoor
from monitoring.messaging.telegram_listener import TelegramListener
from speech.voice import load_voice


class TelegramPost(Post):
    """Commands are heard as long as it is open."""

    def __init__(self, run: Path, settings: TelegramSettings, say: Say) -> None:
        self._door, words = TelegramDoor(settings), words_of(settings.language)
        super().__init__("telegram", run, words, self._door, settings.messages_per_minute, say)
        person = Person(run, self.outbox, words, lambda text, path: speak(run, text, path))
        self._listener = TelegramListener(self._door, settings, person.hear, say)

    def start(self) -> None:
        super().start()
        self._listener.start()

    def finish(self, seconds: float) -> None:
        self._listener.stop()
        super().finish(seconds)
        self._door.close()


def speak(run: Path, text: str, path: Path) -> None:
    """The run's best voice so far says a text into a WAV file."""
    try:
        voice = load_voice(best_voice_file(run))
        frontend = text_frontend(voice.hparams)
        if not frontend.encode(text):
            raise ValueError(text)
        speaker, device = chosen_speaker(None, voice.hparams), torch.device("cpu")
        (wave,) = speak_texts(voice, frontend, [text], speaker=speaker, device=device, console=Console(quiet=True))
        write_wave(path, wave, voice.hparams.sampling_rate)
    except UserError as error:
        raise ValueError(str(error)) from error
