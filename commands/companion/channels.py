"""Message channel: a journal tail puts messages into an outbox, a thread sends them to people."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from monitoring.journal.tail import JournalTail
from monitoring.language import LANGUAGES
from monitoring.language.base import Language
from monitoring.messaging.message import Message, Priority
from monitoring.messaging.notifications import Notifications
from monitoring.messaging.outbox import Outbox
from monitoring.messaging.sender import MessageSender, MessageTransport, RateLimit
from monitoring.messaging.webhook import WebhookClient
from smart_tuner.settings import Settings

Warn = Callable[[str], None]


class CommandReceiver(Protocol):
    """Receiver of commands from people."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


@dataclass(frozen=True)
class MessageChannel:
    """One service that brings messages to people; with a command receiver it also answers commands."""

    language: Language
    outbox: Outbox
    sender: MessageSender
    tail: JournalTail
    command_receiver: CommandReceiver | None = None
    close_transport: Callable[[], None] = lambda: None

    def start(self) -> None:
        self.sender.start()
        if self.command_receiver is not None:
            self.command_receiver.start()

    def report_lost_training(self, step: int) -> None:
        """Say that training and watchdog ended without a message of their own."""
        self.outbox.put(Message("silent", Priority.CRITICAL, self.language.text("training_vanished"), step=step))

    def finish(self, seconds: float) -> None:
        """Send what can be sent in this time; the rest stays in the outbox file."""
        if self.command_receiver is not None:
            self.command_receiver.stop()
        self.sender.finish(seconds)
        self.outbox.try_save()
        self.close_transport()


def open_channel(
    name: str,
    run: Path,
    settings: Settings,
    *,
    transport: MessageTransport,
    messages_per_minute: int,
    samples: JournalTail,
    warn: Warn,
) -> MessageChannel:
    """Make a channel, not started yet; its journal tail ends after `samples`, whose files it sends."""
    language = LANGUAGES[settings.telegram.language]
    outbox = Outbox(run / "companion" / f"{name}-outbox.json", language)
    sender = MessageSender(name, outbox, transport, RateLimit(messages_per_minute), warn)
    make_notifications = functools.partial(
        Notifications,
        run,
        outbox,
        language,
        progress_seconds=60 * settings.telegram.progress_minutes,
        sample_seconds=60 * settings.telegram.sample_minutes,
    )
    tail = JournalTail(name, run, make_notifications, ends_after=samples, warn=warn)
    return MessageChannel(language, outbox, sender, tail)


def open_webhook_channel(run: Path, settings: Settings, samples: JournalTail, warn: Warn) -> MessageChannel:
    assert settings.webhook.url is not None
    return open_channel(
        "webhook",
        run,
        settings,
        transport=WebhookClient(settings.webhook.url.get_secret_value(), run.name),
        messages_per_minute=settings.webhook.messages_per_minute,
        samples=samples,
        warn=warn,
    )
