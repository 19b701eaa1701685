"""Everything that a companion needs to tell people of a run, and to hear them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console

from commands.run_folder import best_voice_file
from commands.synthesize import speak_texts
from corpus.audio import write_wave
from corpus.text import text_frontend
from hparams import UserError
from monitoring.courier import Courier, Door, Pace
from monitoring.follow import Following
from monitoring.message import Importance, Message
from monitoring.message_settings import TelegramSettings
from monitoring.messages import Messages
from monitoring.outbox import Outbox
from monitoring.person import Person
from monitoring.telegram import TelegramDoor
from monitoring.telegram_listener import TelegramListener
from monitoring.webhook import WebhookDoor
from monitoring.words import Words, words_of
from smart_tuner.settings import Settings
from training.voice import load_voice

Say = Callable[[str], None]


class Post:
    """One way to people: what is put into its outbox by `following` is brought by a courier."""

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
        self.outbox.save()


class TelegramPost(Post):
    """With ears: commands are heard as long as it is open."""

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


def posts_of(run: Path, settings: Settings, samples: Following, say: Say) -> list[tuple[Following, Post]]:
    """Those that the settings want, each with the one who fills its outbox."""
    posts: list[tuple[Following, Post]] = []
    if settings.telegram.enabled:
        post = TelegramPost(run, settings.telegram, say)
        posts.append((_following(post, run, settings.telegram, samples, say), post))
    if settings.webhook.url is not None:
        words = words_of(settings.telegram.language)
        door = WebhookDoor(settings.webhook.url.get_secret_value(), run.name)
        hook = Post("webhook", run, words, door, settings.webhook.messages_per_minute, say)
        posts.append((_following(hook, run, settings.telegram, samples, say), hook))
    return posts


def _following(post: Post, run: Path, settings: TelegramSettings, samples: Following, say: Say) -> Following:
    def messages() -> Messages:
        return Messages(
            run,
            post.outbox,
            words_of(settings.language),
            progress_seconds=60 * settings.progress_minutes,
            sample_seconds=60 * settings.sample_minutes,
        )

    return Following(post.courier.name, run, messages, behind=samples, say=say)


def speak(run: Path, text: str, path: Path) -> None:
    """The run's best voice so far says a text into a WAV file."""
    try:
        voice = load_voice(best_voice_file(run))
        frontend = text_frontend(voice.hparams)
        if not frontend.encode(text):
            raise ValueError(text)
        (wave,) = speak_texts(voice, frontend, [text], device=torch.device("cpu"), console=Console(quiet=True))
        write_wave(path, wave, voice.hparams.sampling_rate)
    except UserError as error:
        raise ValueError(str(error)) from error
