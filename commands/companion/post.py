"""Ways to tell people of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from monitoring.journal.tail import JournalTail
from monitoring.language.base import Words, words_of
from monitoring.messaging.message import Importance, Message
from monitoring.messaging.notifications import Messages
from monitoring.messaging.outbox import Outbox
from monitoring.messaging.sender import Courier, Door, Pace
from monitoring.messaging.settings import TelegramSettings
from monitoring.messaging.webhook import WebhookDoor
from smart_tuner.settings import Settings

Say = Callable[[str], None]


class Post:
    """One way to people: what is put into its outbox by `tail` is brought by a courier."""

    def __init__(self, name: str, run: Path, words: Words, door: Door, most_a_minute: int, say: Say) -> None:
        self.outbox = Outbox(run / "companion" / f"{name}-outbox.json", words)
        self.courier = Courier(name, self.outbox, door, Pace(most_a_minute), say)
        self._words = words

    def start(self) -> None:
        self.courier.start()

    def training_is_gone(self, step: int) -> None:
        """Nobody is left to say so: neither the training nor its watchdog."""
        self.outbox.put(Message("silent", Importance.CRITICAL, self._words.say("silent"), step=step))

    def finish(self, seconds: float) -> None:
        """Bring the rest, as far as that is possible in this time."""
        self.courier.finish(seconds)
        self.outbox.save_if_possible()


def posts_of(run: Path, settings: Settings, samples: JournalTail, say: Say) -> list[tuple[JournalTail, Post]]:
    """Those that the settings want, each with the one who fills its outbox."""
    posts: list[tuple[JournalTail, Post]] = []
    if settings.telegram.enabled:
        from commands.companion.telegram_post import TelegramPost

        post = TelegramPost(run, settings.telegram, say)
        posts.append((_following(post, run, settings.telegram, samples, say), post))
    if settings.webhook.url is not None:
        words = words_of(settings.telegram.language)
        door = WebhookDoor(settings.webhook.url.get_secret_value(), run.name)
        hook = Post("webhook", run, words, door, settings.webhook.messages_per_minute, say)
        posts.append((_following(hook, run, settings.telegram, samples, say), hook))
    return posts


def _following(post: Post, run: Path, settings: TelegramSettings, samples: JournalTail, say: Say) -> JournalTail:
    def messages() -> Messages:
        return Messages(
            run,
            post.outbox,
            words_of(settings.language),
            progress_seconds=60 * settings.progress_minutes,
            sample_seconds=60 * settings.sample_minutes,
        )

    return JournalTail(post.courier.name, run, messages, ends_after=samples, warn=say)
