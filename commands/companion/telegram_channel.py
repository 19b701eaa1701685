"""Telegram channel: messages to a chat, and a bot that answers commands, also with the run's voice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from commands.companion.best_voice import BestVoice
from commands.companion.channels import MessageChannel, Warn, open_channel
from monitoring.journal.tail import JournalTail
from monitoring.messaging.bot_commands import Person
from monitoring.messaging.telegram import TelegramDoor
from monitoring.messaging.telegram_listener import TelegramListener
from smart_tuner.settings import Settings


def open_telegram_channel(run: Path, settings: Settings, samples: JournalTail, warn: Warn) -> MessageChannel:
    client, rate = TelegramDoor(settings.telegram), settings.telegram.messages_per_minute
    channel = open_channel("telegram", run, settings, client, rate, samples=samples, warn=warn)
    commands = Person(run, channel.outbox, channel.words, BestVoice(run).speak)
    listener = TelegramListener(client, settings.telegram, commands.hear, warn)
    return replace(channel, listener=listener, close_transport=client.close)
