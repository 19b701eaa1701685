"""Long polling for commands that people send to the bot; only those of allowed users are handled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from telegram import Update
from telegram.error import Conflict, RetryAfter, TelegramError

from monitoring.messaging.settings import TelegramSettings
from monitoring.messaging.telegram import TelegramClient, pause_seconds

POLL_SECONDS = 25
FIRST_WAIT_SECONDS, MAX_WAIT_SECONDS = 1.0, 60.0
CONFLICT_WAIT_SECONDS = 60.0
MAX_STRANGER_WARNINGS = 20
HELP = "help"


class CommandHandler(Protocol):
    """Function that handles a user's command, and returns the reply to a pressed button.

    It is called in a thread of its own.
    """

    def __call__(self, text: str, user: int, *, pressed: bool) -> str: ...


class TelegramPoller:
    """Poller of the bot's updates; those sent before it started are skipped."""

    def __init__(
        self, client: TelegramClient, settings: TelegramSettings, handle: CommandHandler, warn: Callable[[str], None]
    ) -> None:
        self._client, self._settings, self._handle, self._warn = client, settings, handle, warn
        self._ignored: set[tuple[int | None, int | None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._bot_name = ""
        self._future: Future[None] | None = None

    def start(self) -> None:
        if self._settings.allowed_users:
            self._future = asyncio.run_coroutine_threadsafe(self._run(), self._client.loop)

    def stop(self) -> None:
        if self._future is not None:
            self._future.cancel()

    async def _run(self) -> None:
        offset, wait, has_warned = None, FIRST_WAIT_SECONDS, False
        while True:
            try:
                offset = await self._poll(offset)
                wait, has_warned = FIRST_WAIT_SECONDS, False
                continue
            except Conflict:
                reason = "another program polls with this token and receives the commands instead of this run"
                seconds = CONFLICT_WAIT_SECONDS
            except RetryAfter as error:
                reason, seconds = "", pause_seconds(error)
            except TelegramError as error:
                reason, seconds = f"commands cannot be received ({type(error).__name__})", wait
                wait = min(2 * wait, MAX_WAIT_SECONDS)
            if reason and not has_warned:
                self._warn(f"telegram: {reason}")
                has_warned = True
            await asyncio.sleep(min(seconds, MAX_WAIT_SECONDS))

    async def _poll(self, offset: int | None) -> int:
        """Receive updates from `offset` on and return the next offset; without an offset, only skip old updates."""
        bot, kinds = self._client.bot, ["message", "callback_query"]
        if offset is None:
            self._bot_name = str((await bot.get_me()).username)
            old = await bot.get_updates(offset=-1, timeout=0, allowed_updates=kinds)
            return old[-1].update_id + 1 if old else 0
        read_timeout = POLL_SECONDS + 10
        updates = await bot.get_updates(offset, timeout=POLL_SECONDS, allowed_updates=kinds, read_timeout=read_timeout)
        for update in updates:
            offset = update.update_id + 1
            task = asyncio.create_task(self._handle_update(update))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return offset

    async def _handle_update(self, update: Update) -> None:
        query, message = update.callback_query, update.message
        text = query.data if query is not None else message.text if message is not None else None
        if text is None or not self._is_allowed(update):
            return
        command = text if query is not None else self._parse_command(text, update)
        if command is None:
            return
        user: Any = update.effective_user
        try:
            reply = await asyncio.to_thread(self._handle, command, user.id, pressed=query is not None)
            if query is not None:
                await query.answer(text=reply)
        except TelegramError as error:
            self._warn(f"telegram: a button was not answered ({type(error).__name__})")
        except Exception as error:
            self._warn(f"telegram: a command failed ({type(error).__name__}); companion/log.txt says more")
            raise

    def _parse_command(self, text: str, update: Update) -> str | None:
        """Command without its slash; None for other bots' commands and for talk in a group."""
        if not text.startswith("/"):
            return HELP if update.effective_chat is not None and update.effective_chat.type == "private" else None
        head, *rest = text[1:].split(maxsplit=1) or [HELP]
        command, _, bot_name = head.partition("@")
        return " ".join([command, *rest]) if bot_name.lower() in ("", self._bot_name.lower()) else None

    def _is_allowed(self, update: Update) -> bool:
        """Whether chat and user are allowed; warn of each stranger once."""
        chat = update.effective_chat
        chat_id = None if chat is None else chat.id
        user_id = None if update.effective_user is None else update.effective_user.id
        chat_names = () if chat is None else (str(chat.id), f"@{chat.username}")
        if str(self._client.chat_id) in chat_names and user_id in self._settings.allowed_users:
            return True
        if (chat_id, user_id) not in self._ignored and len(self._ignored) < MAX_STRANGER_WARNINGS:
            self._ignored.add((chat_id, user_id))
            self._warn(f"telegram: ignored user {user_id} in chat {chat_id}: not in allowed_users, or another chat")
        return False
