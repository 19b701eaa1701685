"""Server on 127.0.0.1 with Telegram's Bot API, whose next requests can be made to fail."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from tests.monitoring.messaging.telegram_checks import ApiError, check_file, check_length, strip_markup

TOKEN = "123456:AAE-real-looking_secret0token"
CHAT, USER, STRANGER = 4242, 7, 666


@dataclass(frozen=True)
class SentRequest:
    """A request that succeeded; `text` is its text or caption without markup, `at` is time.monotonic()."""

    method: str
    text: str
    parameters: Mapping[str, str]
    files: Mapping[str, bytes]
    at: float
    message_id: int


@dataclass
class BotApi:
    """The server and its state.

    `faults`: faults of the next requests other than getUpdates, one each: an HTTP status, `429:<seconds>`,
    `<status>:<description>`, `hang`, `reset`, or an empty string for no fault.
    """

    sent: list[SentRequest] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    requests: int = 0
    texts: dict[int, str] = field(default_factory=dict)
    updates: list[dict[str, Any]] = field(default_factory=list)
    button_replies: list[dict[str, str]] = field(default_factory=list)
    requests_per_minute: int = 10_000
    _ids: int = 0
    is_polling: bool = False

    def __post_init__(self) -> None:
        self.changed = threading.Condition()
        api = self

        class Handler(_Handler):
            bot_api = api

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.stopped = threading.Event()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/bot"

    def close(self) -> None:
        self.stopped.set()
        with self.changed:
            self.changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def receive_message(self, text: str, *, chat: int = CHAT, user: int = USER, group: str = "") -> None:
        """Receive a message from a person, in a private chat or in the group of that name."""
        source = {"id": chat, "type": "supergroup", "title": group, "username": group} if group else _chat(chat)
        message = {"message_id": self._next_id(), "date": int(time.time()), "text": text, "chat": source}
        self._add_update({"message": message | {"from": _user(user)}})

    def receive_press(self, data: str, *, chat: int = CHAT, user: int = USER) -> None:
        """Receive the press of a button with this callback data."""
        message = {"message_id": 1, "date": int(time.time()), "text": "x", "chat": _chat(chat)}
        query = {
            "id": str(self._next_id()),
            "from": _user(user),
            "chat_instance": "1",
            "data": data,
            "message": message,
        }
        self._add_update({"callback_query": query})

    def _add_update(self, update: dict[str, Any]) -> None:
        with self.changed:
            self.updates.append({"update_id": 1000 + len(self.updates), **update})
            self.changed.notify_all()

    def sent_by(self, method: str) -> list[SentRequest]:
        return [sent for sent in self.sent if sent.method == method]

    def sent_texts(self) -> list[str]:
        """All texts and captions in order."""
        return [sent.text for sent in self.sent if sent.text]

    def _next_id(self) -> int:
        self._ids += 1
        return self._ids

    def answer(self, method: str, parameters: dict[str, str], files: dict[str, bytes]) -> Any:
        handlers = {
            "getMe": lambda: {"id": 1, "is_bot": True, "first_name": "Tuner", "username": "tuner_bot"},
            "getUpdates": lambda: self._get_updates(parameters),
            "answerCallbackQuery": lambda: self.button_replies.append(parameters) or True,  # type: ignore[func-returns-value]
            "editMessageText": lambda: self._edit(parameters),
            **{name: lambda: self._send(method, parameters, files) for name in SEND_METHODS},
        }
        if method not in handlers:
            raise ApiError(404, "Not Found")
        return handlers[method]()

    def _send(self, method: str, parameters: dict[str, str], files: dict[str, bytes]) -> Any:
        if parameters.get("chat_id") != str(CHAT):
            raise ApiError(400, "Bad Request: chat not found")
        recent = [sent for sent in self.sent if sent.at > time.monotonic() - 60]
        if len(recent) >= self.requests_per_minute:
            raise ApiError(429, "Too Many Requests: retry after 5", retry_after=5)
        if method == "sendMediaGroup":
            return self._send_group(parameters, files)
        field_name = "text" if method == "sendMessage" else "caption"
        text = strip_markup(parameters.get(field_name, ""), parameters.get("parse_mode"))
        check_length(text, 4096 if field_name == "text" else 1024, field_name)
        if field_name == "text" and not text.strip():
            raise ApiError(400, "Bad Request: message text is empty")
        check_file(method, files)
        json.loads(parameters.get("reply_markup", "{}"))
        return self._record(method, text, parameters, files)

    def _send_group(self, parameters: dict[str, str], files: dict[str, bytes]) -> Any:
        media = json.loads(parameters["media"])
        if not 2 <= len(media) <= 10:
            raise ApiError(400, "Bad Request: group send failed: wrong number of items")
        for item in media:
            content = files.get(item["media"].removeprefix("attach://"), b"")
            check_file("sendPhoto", {"photo": content})
        text = strip_markup(media[0].get("caption", ""), media[0].get("parse_mode"))
        check_length(text, 1024, "caption")
        return [self._record("sendMediaGroup", text, parameters, files)]

    def _record(self, method: str, text: str, parameters: dict[str, str], files: dict[str, bytes]) -> dict[str, Any]:
        message_id = self._next_id()
        self.texts[message_id] = text
        self.sent.append(SentRequest(method, text, parameters, files, time.monotonic(), message_id))
        return {"message_id": message_id, "date": int(time.time()), "chat": _chat(CHAT), "text": text}

    def _edit(self, parameters: dict[str, str]) -> Any:
        message_id = int(parameters["message_id"])
        if message_id not in self.texts:
            raise ApiError(400, "Bad Request: message to edit not found")
        text = strip_markup(parameters["text"], parameters.get("parse_mode"))
        check_length(text, 4096, "text")
        if text == self.texts[message_id]:
            raise ApiError(400, "Bad Request: message is not modified: specified new message content is the same")
        self.texts[message_id] = text
        self.sent.append(SentRequest("editMessageText", text, parameters, {}, time.monotonic(), message_id))
        return {"message_id": message_id, "date": 1, "chat": _chat(CHAT), "text": text}

    def _get_updates(self, parameters: dict[str, str]) -> list[dict[str, Any]]:
        offset, seconds = int(parameters.get("offset", 0)), float(parameters.get("timeout", 0))
        if self.is_polling:
            raise ApiError(409, "Conflict: terminated by other getUpdates request")
        self.is_polling = True
        try:
            with self.changed:
                if offset < 0:
                    return self.updates[offset:]
                self.changed.wait_for(lambda: self.stopped.is_set() or self._updates_from(offset), seconds)
                return self._updates_from(offset)
        finally:
            self.is_polling = False

    def _updates_from(self, offset: int) -> list[dict[str, Any]]:
        return [update for update in self.updates if update["update_id"] >= offset]


SEND_METHODS = ("sendMessage", "sendPhoto", "sendVoice", "sendMediaGroup")


class _Handler(BaseHTTPRequestHandler):
    bot_api: BotApi
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def do_POST(self) -> None:
        parameters, files = self._read_body()
        path = re.fullmatch(r"/bot([^/]+)/(\w+)", self.path)
        token, method = path.groups() if path else ("", "")
        api = self.bot_api
        fault = ""
        if method != "getUpdates":
            api.requests += 1
            fault = api.faults.pop(0) if api.faults else ""
        try:
            if token != TOKEN:
                raise ApiError(401, "Unauthorized")
            if fault:
                return self._fail(fault)
            return self._respond(200, {"ok": True, "result": api.answer(method, parameters, files)})
        except ApiError as error:
            content = {"ok": False, "error_code": error.code, "description": error.description}
            return self._respond(error.code, content | ({"parameters": error.parameters} if error.parameters else {}))

    def _fail(self, fault: str) -> None:
        """Hang, reset the connection or raise an ApiError."""
        if fault == "hang":
            self.bot_api.stopped.wait(30)
            return
        if fault == "reset":
            linger = struct.pack("ii", 1, 0)  # with it, closing sends a reset
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
            self.close_connection = True
            return
        code, _, detail = fault.partition(":")
        descriptions = {
            401: "Unauthorized",
            403: "Forbidden: bot was blocked by the user",
            500: "Internal Server Error",
        }
        if code == "429":
            raise ApiError(429, f"Too Many Requests: retry after {detail}", retry_after=int(detail))
        raise ApiError(int(code), detail or descriptions.get(int(code), "Bad Gateway"))

    def _respond(self, code: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except ConnectionError:
            self.close_connection = True

    def _read_body(self) -> tuple[dict[str, str], dict[str, bytes]]:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content_type = self.headers.get("Content-Type", "")
        if not content_type.startswith("multipart/"):
            return {name: values[0] for name, values in parse_qs(content.decode()).items()}, {}
        head = f"Content-Type: {content_type}\r\n\r\n".encode()
        parameters, files = dict[str, str](), dict[str, bytes]()
        for part in BytesParser(policy=HTTP).parsebytes(head + content).iter_parts():
            name = str(part.get_param("name", header="content-disposition"))
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            if part.get_filename() is not None:
                files[name] = payload
            else:
                parameters[name] = payload.decode()
        return parameters, files


def _chat(id_: int) -> dict[str, Any]:
    return {"id": id_, "type": "private", "first_name": "A"}


def _user(id_: int) -> dict[str, Any]:
    return {"id": id_, "is_bot": False, "first_name": "A"}
