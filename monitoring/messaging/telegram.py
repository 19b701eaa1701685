"""Client of Telegram's Bot API; imported only where it is used, since the library takes half a second."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from telegram import Bot, InlineKeyboardButton, InlineKeyboardMarkup, InputMediaPhoto
from telegram import error as telegram_error
from telegram.error import BadRequest, RetryAfter
from telegram.request import HTTPXRequest

from monitoring.audio_encoding import encode_opus
from monitoring.messaging.message import Button, Message, Priority
from monitoring.messaging.sender import MessageRejected, RateLimited, ServerUnreachable
from monitoring.messaging.settings import TelegramSettings
from monitoring.messaging.telegram_format import (
    MAX_FILE_BYTES,
    MAX_PHOTO_BYTES,
    MAX_PICTURES,
    split_caption,
    split_text,
    to_html,
)

os.environ.setdefault("PTB_TIMEDELTA", "true")  # the library's future default: durations as timedelta

REQUEST_SECONDS, UPLOAD_SECONDS = 20.0, 60.0
MAX_CALL_SECONDS = 120.0  # of one request with all its retries and uploads, should the server hang
EDITED_KINDS = ("progress",)  # the chat has one message of these kinds, which is edited


@dataclass(frozen=True)
class TelegramRequest:
    kind: str  # text, edit, photo, album or voice
    text: str = ""
    has_title: bool = False
    files: tuple[Path, ...] = ()
    buttons: tuple[Button, ...] = ()
    is_silent: bool = True


class TelegramClient:
    """Message transport through python-telegram-bot, with an event loop in a thread of its own."""

    def __init__(self, settings: TelegramSettings) -> None:
        self._settings = settings
        self.chat_id = settings.chat_id
        self._edited_message_id: int | None = None
        self._bot: Bot | None = None
        self._http_requests: list[HTTPXRequest] = []
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="telegram", daemon=True)
        self._thread.start()
        for logger in ("httpx", "httpcore", "telegram"):  # at INFO they log addresses, which contain the token
            logging.getLogger(logger).setLevel(logging.WARNING)

    def close(self) -> None:
        for request in self._http_requests:
            asyncio.run_coroutine_threadsafe(request.shutdown(), self.loop).result(REQUEST_SECONDS)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(REQUEST_SECONDS)
        self.loop.close()

    @property
    def bot(self) -> Bot:
        if self._bot is None:
            sending, polling = self._http_requests = [
                HTTPXRequest(
                    connect_timeout=REQUEST_SECONDS,
                    read_timeout=REQUEST_SECONDS,
                    write_timeout=REQUEST_SECONDS,
                    media_write_timeout=UPLOAD_SECONDS,
                )
                for _ in range(2)
            ]
            self._bot = Bot(
                self._settings.token,
                base_url=self._settings.base_url,
                base_file_url=self._settings.base_url.replace("/bot", "/file/bot"),
                request=sending,
                get_updates_request=polling,
            )
        return self._bot

    def build_requests(self, message: Message) -> Sequence[TelegramRequest]:
        pictures = _existing(message.pictures, MAX_PHOTO_BYTES)[:MAX_PICTURES]
        voice = _existing((message.voice,) if message.voice else (), MAX_FILE_BYTES)
        if message.kind in EDITED_KINDS and not pictures and not voice:
            return [TelegramRequest("edit", split_text(message.headline, message.lines)[0], has_title=True)]
        is_silent = message.priority < Priority.ANSWER
        requests: list[TelegramRequest] = []
        lines = [*message.lines, *_too_large_files(message)]
        texts = split_text(message.headline, lines)
        if pictures or voice:
            caption, texts = split_caption(message.headline, lines)
            kind = "voice" if not pictures else "album" if len(pictures) > 1 else "photo"
            files = pictures or voice
            requests.append(TelegramRequest(kind, caption, has_title=True, files=files, is_silent=is_silent))
        for i, text in enumerate(texts):
            has_title = not requests and i == 0
            requests.append(TelegramRequest("text", text, has_title=has_title, is_silent=is_silent))
        if pictures and voice:
            requests.append(TelegramRequest("voice", files=voice))
        if message.buttons:
            if requests[-1].kind == "album":  # an album takes no buttons
                requests.append(TelegramRequest("text", "…"))
            requests[-1] = replace(requests[-1], buttons=message.buttons, is_silent=is_silent)
        return requests

    def send(self, request: TelegramRequest) -> None:
        contents = _read_files(request)
        try:
            html = to_html(request.text, has_title=request.has_title)
            self.call(self._send(request, contents, html, "HTML"))
        except MessageRejected as error:
            if "parse entities" not in str(error):
                raise
            self.call(self._send(request, contents, request.text, None))

    def call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine in the client's loop; raise its errors as a transport does, without the token."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result(MAX_CALL_SECONDS)
        except telegram_error.RetryAfter as error:
            raise RateLimited(pause_seconds(error)) from None
        except telegram_error.ChatMigrated as error:
            self.chat_id = error.new_chat_id
            raise ServerUnreachable(f"the chat has a new id, {error.new_chat_id}: set chat_id to it") from None
        except telegram_error.InvalidToken:
            raise ServerUnreachable("the token is refused (401): ask @BotFather for the right one") from None
        except telegram_error.Forbidden as error:
            hint = "press Start in the chat with the bot, or add it to the group"
            raise ServerUnreachable(f"{error.message}: {hint}") from None
        except telegram_error.BadRequest as error:
            if "chat not found" in error.message.lower():
                raise ServerUnreachable(f"{error.message}: is chat_id {self._settings.chat_id} right?") from None
            raise MessageRejected(error.message) from None
        except (telegram_error.TelegramError, TimeoutError, OSError) as error:
            future.cancel()
            raise ServerUnreachable(f"Telegram cannot be reached ({type(error).__name__})") from None

    async def _send(
        self, request: TelegramRequest, contents: Sequence[bytes], text: str, parse_mode: str | None
    ) -> None:
        bot, chat_id = self.bot, self.chat_id
        assert chat_id is not None, "enabled settings have a chat_id"
        mode: dict[str, Any] = {"parse_mode": parse_mode}
        options: dict[str, Any] = {"chat_id": chat_id, "disable_notification": request.is_silent}
        markup = _keyboard(request.buttons)
        if request.kind == "edit":
            await self._edit(text, parse_mode)
        elif request.kind == "photo":
            await bot.send_photo(photo=contents[0], caption=text, reply_markup=markup, **mode, **options)
        elif request.kind == "album":
            media = [InputMediaPhoto(contents[0], caption=text, **mode), *map(InputMediaPhoto, contents[1:])]
            await bot.send_media_group(media=media, **options)
        elif request.kind == "voice":
            await bot.send_voice(voice=contents[0], caption=text, reply_markup=markup, **mode, **options)
        else:
            await bot.send_message(text=text, reply_markup=markup, **mode, **options)

    async def _edit(self, text: str, parse_mode: str | None) -> None:
        """Edit the progress message, or send a new one if there is none any more."""
        bot, chat_id = self.bot, self.chat_id
        assert chat_id is not None, "enabled settings have a chat_id"
        if self._edited_message_id is not None:
            try:
                await bot.edit_message_text(
                    text, chat_id=chat_id, message_id=self._edited_message_id, parse_mode=parse_mode
                )
                return
            except BadRequest as error:
                if "not modified" in error.message.lower():
                    return
        sent = await bot.send_message(chat_id, text, parse_mode=parse_mode, disable_notification=True)
        self._edited_message_id = sent.message_id


def pause_seconds(error: RetryAfter) -> float:
    pause = error.retry_after
    return float(pause) if isinstance(pause, int) else pause.total_seconds()


def _read_files(request: TelegramRequest) -> list[bytes]:
    try:
        if request.kind == "voice":
            return [encode_opus(request.files[0])]
        return [file.read_bytes() for file in request.files]
    except (OSError, RuntimeError) as error:  # removed meanwhile, or not a sound file
        names = ", ".join(file.name for file in request.files)
        raise MessageRejected(f"{type(error).__name__}: {names}") from error


def _keyboard(buttons: Sequence[Button]) -> InlineKeyboardMarkup | None:
    row = [InlineKeyboardButton(button.label, callback_data=button.command) for button in buttons]
    return InlineKeyboardMarkup([row]) if row else None


def _existing(files: Sequence[str], most_bytes: int) -> tuple[Path, ...]:
    """Select the files that exist and are neither empty nor too large."""
    paths = map(Path, files)
    return tuple(path for path in paths if path.is_file() and 0 < path.stat().st_size <= most_bytes)


def _too_large_files(message: Message) -> list[str]:
    """Files that Telegram does not accept; the message names them instead."""
    limits = {file: MAX_PHOTO_BYTES for file in message.pictures}
    limits |= {message.voice: MAX_FILE_BYTES} if message.voice else {}
    return [file for file, most in limits.items() if Path(file).is_file() and Path(file).stat().st_size > most]
