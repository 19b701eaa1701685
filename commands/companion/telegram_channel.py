"""Telegram channel: messages to a chat, and a bot that answers commands, also with the run's voice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from commands.companion.best_voice import BestVoice
from commands.companion.channels import MessageChannel, Warn, open_channel
from monitoring.journal.tail import JournalTail
from monitoring.messaging.bot_commands import BotCommands
from monitoring.messaging.telegram import TelegramClient
from monitoring.messaging.telegram_poller import TelegramPoller
from smart_tuner.settings import Settings


def open_telegram_channel(run: Path, settings: Settings, samples: JournalTail, warn: Warn) -> MessageChannel:
    client = TelegramClient(settings.telegram)
    channel = open_channel(
        "telegram",
        run,
        settings,
        transport=client,
        messages_per_minute=settings.telegram.messages_per_minute,
        samples=samples,
        warn=warn,
    )
    commands = BotCommands(run, channel.outbox, channel.language, BestVoice(run).speak)
    poller = TelegramPoller(client, settings.telegram, commands.handle, warn)
    return replace(channel, command_receiver=poller, close_transport=client.close)
