"""Hears what people write to the bot, and lets through only those who may say something."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from telegram import Update
from telegram.error import Conflict, RetryAfter, TelegramError

from monitoring.messaging.settings import TelegramSettings
from monitoring.messaging.telegram import TelegramDoor, seconds_of

POLL_SECONDS = 25
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 60.0

MOST_NOTED = 20  # strangers
HELP = "help"


class Hear(Protocol):
    """Takes a command and who gave it; returns a word for the one who pressed a button.

    Called in a thread of its own.
    """

    def __call__(self, text: str, user: int, *, pressed: bool) -> str: ...


class TelegramListener:
    """Long polling; what was written before it began to listen is not for this run."""

    def __init__(self, door: TelegramDoor, settings: TelegramSettings, hear: Hear, say: Callable[[str], None]) -> None:
        self._door, self._settings, self._hear, self._say = door, settings, hear, say
        self._ignored: set[tuple[int | None, int | None]] = set()
        self._at_work: set[asyncio.Task[None]] = set()
        self._name = ""  # of the bot
        self._future: Future[None] | None = None

    def start(self) -> None:
        if self._settings.allowed_users:
            self._future = asyncio.run_coroutine_threadsafe(self._listen(), self._door.loop)

    def stop(self) -> None:
        if self._future is not None:
            self._future.cancel()

    async def _listen(self) -> None:
        offset, wait, has_said = None, FIRST_WAIT_SECONDS, False
        while True:
            try:
                offset = await self._poll(offset)
                wait, has_said = FIRST_WAIT_SECONDS, False
                continue
            except Conflict:
                reason, seconds = "another program listens with this token: it hears the commands, not this run", 60.0
            except RetryAfter as flood:
                reason, seconds = "", seconds_of(flood)
            except TelegramError as error:
                reason, seconds = f"commands cannot be heard ({type(error).__name__})", wait
                wait = min(2 * wait, LONGEST_WAIT_SECONDS)
            if reason and not has_said:
                self._say(f"telegram: {reason}")
                has_said = True
            await asyncio.sleep(min(seconds, LONGEST_WAIT_SECONDS))

    async def _poll(self, offset: int | None) -> int:
        """One round; returns where the next begins. The first one only skips what is old."""
        bot, wanted = self._door.bot, ["message", "callback_query"]
        if offset is None:
            self._name = str((await bot.get_me()).username)
            old = await bot.get_updates(offset=-1, timeout=0, allowed_updates=wanted)
            return old[-1].update_id + 1 if old else 0
        read_timeout = POLL_SECONDS + 10
        updates = await bot.get_updates(offset, timeout=POLL_SECONDS, allowed_updates=wanted, read_timeout=read_timeout)
        for update in updates:
            offset = update.update_id + 1
            task = asyncio.create_task(self._take(update))
            self._at_work.add(task)
            task.add_done_callback(self._at_work.discard)
        return offset

    async def _take(self, update: Update) -> None:
        query, message = update.callback_query, update.message
        text = query.data if query is not None else message.text if message is not None else None
        if text is None or not self._is_allowed(update):
            return
        command = text if query is not None else self._command(text, update)
        if command is None:
            return
        user: Any = update.effective_user
        try:
            word = await asyncio.to_thread(self._hear, command, user.id, pressed=query is not None)
            if query is not None:
                await query.answer(text=word)
        except TelegramError as error:
            self._say(f"telegram: a button was not answered ({type(error).__name__})")
        except Exception as error:
            self._say(f"telegram: a command failed ({type(error).__name__}); companion/log.txt says more")
            raise

    def _command(self, text: str, update: Update) -> str | None:
        """Without its slash; other bots' commands and what people say among themselves are not for us."""
        if not text.startswith("/"):
            return HELP if update.effective_chat is not None and update.effective_chat.type == "private" else None
        head, *rest = text[1:].split(maxsplit=1) or [HELP]
        command, _, name = head.partition("@")
        return " ".join([command, *rest]) if name.lower() in ("", self._name.lower()) else None

    def _is_allowed(self, update: Update) -> bool:
        """By chat and by person; others are noted once."""
        place = update.effective_chat
        chat = None if place is None else place.id
        user = None if update.effective_user is None else update.effective_user.id
        names = () if place is None else (str(place.id), f"@{place.username}")
        if str(self._door.chat_id) in names and user in self._settings.allowed_users:
            return True
        if (chat, user) not in self._ignored and len(self._ignored) < MOST_NOTED:
            self._ignored.add((chat, user))
            self._say(f"telegram: ignored user {user} in chat {chat}: not in allowed_users, or another chat")
        return False
