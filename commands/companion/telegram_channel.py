"""Telegram channel: messages to a chat, and a bot that answers commands, also with the run's voice."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from commands.companion.channels import MessageChannel, Warn, open_channel
from commands.run.run_folder import best_voice_file
from commands.run.speakers import chosen_speaker
from commands.voice.synthesize import speak_texts
from corpus.audio.mel import write_wave
from corpus.text.frontend import text_frontend
from hparams import UserError
from monitoring.journal.tail import JournalTail
from monitoring.messaging.bot_commands import Person
from monitoring.messaging.telegram import TelegramDoor
from monitoring.messaging.telegram_listener import TelegramListener
from smart_tuner.settings import Settings
from speech.voice import load_voice


def open_telegram_channel(run: Path, settings: Settings, samples: JournalTail, warn: Warn) -> MessageChannel:
    client, rate = TelegramDoor(settings.telegram), settings.telegram.messages_per_minute
    channel = open_channel("telegram", run, settings, client, rate, samples=samples, warn=warn)
    commands = Person(run, channel.outbox, channel.words, functools.partial(speak, run))
    listener = TelegramListener(client, settings.telegram, commands.hear, warn)
    return replace(channel, listener=listener, close_transport=client.close)


def speak(run: Path, text: str, path: Path) -> None:
    """Write the text as a WAV file, spoken by the run's best voice so far; raise ValueError if that is impossible."""
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
