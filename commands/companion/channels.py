"""Message channel: a journal tail puts messages into an outbox, a thread sends them to people."""

from __future__ import annotations

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


class Listener(Protocol):
    """Receiver of people's commands."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


@dataclass(frozen=True)
class MessageChannel:
    """One service that brings messages to people; a channel with a listener also answers commands."""

    language: Language
    outbox: Outbox
    sender: MessageSender
    tail: JournalTail
    listener: Listener | None = None
    close_transport: Callable[[], None] = lambda: None

    def start(self) -> None:
        self.sender.start()
        if self.listener is not None:
            self.listener.start()

    def report_lost_training(self, step: int) -> None:
        """Say that training and watchdog ended without a message of their own."""
        self.outbox.put(Message("silent", Priority.CRITICAL, self.language.text("training_vanished"), step=step))

    def finish(self, seconds: float) -> None:
        """Send what can be sent in this time; the rest stays in the outbox file."""
        if self.listener is not None:
            self.listener.stop()
        self.sender.finish(seconds)
        self.outbox.try_save()
        self.close_transport()


def open_channel(
    name: str,
    run: Path,
    settings: Settings,
    transport: MessageTransport,
    messages_per_minute: int,
    *,
    samples: JournalTail,
    warn: Warn,
) -> MessageChannel:
    """Channel with its outbox and threads, not started yet. It ends after `samples`, whose files it sends."""
    language, intervals = LANGUAGES[settings.telegram.language], settings.telegram
    outbox = Outbox(run / "companion" / f"{name}-outbox.json", language)

    def notifications() -> Notifications:
        return Notifications(
            run,
            outbox,
            language,
            progress_seconds=60 * intervals.progress_minutes,
            sample_seconds=60 * intervals.sample_minutes,
        )

    sender = MessageSender(name, outbox, transport, RateLimit(messages_per_minute), warn)
    return MessageChannel(
        language, outbox, sender, JournalTail(name, run, notifications, ends_after=samples, warn=warn)
    )


def open_webhook_channel(run: Path, settings: Settings, samples: JournalTail, warn: Warn) -> MessageChannel:
    assert settings.webhook.url is not None
    client = WebhookClient(settings.webhook.url.get_secret_value(), run.name)
    return open_channel(
        "webhook", run, settings, client, settings.webhook.messages_per_minute, samples=samples, warn=warn
    )
