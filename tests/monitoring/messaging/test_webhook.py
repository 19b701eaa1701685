"""Webhook: messages as JSON, and errors that do not show the URL."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from monitoring.language.english import ENGLISH
from monitoring.messaging.message import Message, Priority
from monitoring.messaging.outbox import Outbox
from monitoring.messaging.sender import MessageRejected, MessageSender, RateLimit, RateLimited, ServerUnreachable
from monitoring.messaging.settings import WebhookSettings
from monitoring.messaging.webhook import WebhookClient

ALARM = Message("alarm", Priority.CRITICAL, "Problem: ё", ("<b>",), step=7)


class WebhookServer:
    """Local server that accepts JSON, or answers with the next of `codes`."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.codes: list[int] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                code = server.codes.pop(0) if server.codes else 200
                if code == 200:
                    assert self.headers["Content-Type"] == "application/json"
                    server.received.append(json.loads(content))
                self.send_response(code)
                self.send_header("Retry-After", "3")
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self) -> None:
                server.received.append({"requested by GET": self.path})
                self.send_error(405)

            def log_message(self, *_: object) -> None:
                """Keep the test's output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/secret-path"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


@pytest.fixture
def server() -> Iterator[WebhookServer]:
    server = WebhookServer()
    yield server
    server.close()


def send(server: WebhookServer) -> None:
    client = WebhookClient(server.url, "run <1>")
    for request in client.build_requests(ALARM):
        client.send(request)


def test_a_message_is_posted_as_json(server: WebhookServer) -> None:
    send(server)
    assert server.received == [
        {
            **{"run": "run <1>", "kind": "alarm", "importance": "critical", "step": 7, "times": 1},
            **{"title": "Problem: ё", "lines": ["<b>"]},
        }
    ]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (429, RateLimited),
        *((code, ServerUnreachable) for code in (500, 503)),
        *((code, MessageRejected) for code in (400, 413)),
        *((code, ServerUnreachable) for code in (301, 302, 401, 404)),  # the address may be corrected
    ],
)
def test_an_error_code_becomes_a_transport_error(server: WebhookServer, code: int, expected: type[Exception]) -> None:
    server.codes.append(code)
    with pytest.raises(expected) as error:
        send(server)
    assert "secret" not in str(error.value)
    assert server.received == []
    if isinstance(error.value, RateLimited):
        assert error.value.seconds == 3


def test_a_refused_connection_is_reported_without_the_address() -> None:
    with pytest.raises(ServerUnreachable) as error:
        WebhookClient("http://127.0.0.1:1/secret-path", "run").send(b"{}")
    assert "secret" not in str(error.value)


def test_a_server_without_http_is_reported_without_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(10_000)
                connection.sendall(b"220 mail.example ESMTP\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ServerUnreachable) as error:
            WebhookClient(f"http://127.0.0.1:{server.getsockname()[1]}/secret-path", "run").send(b"{}")
        thread.join(10)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "url", ["example.org/secret", "file:///secret", "ftp://x/secret", "https://", "http://a b/secret"]
)
def test_an_invalid_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValidationError, match="http|label") as error:
        WebhookSettings(url=SecretStr(url))
    assert "secret" not in str(error.value)


def test_a_message_is_sent_again_after_server_errors(
    server: WebhookServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitoring.messaging.sender.FIRST_WAIT_SECONDS", 0.01)
    outbox = Outbox(tmp_path / "outbox.json", ENGLISH)
    sender = MessageSender("webhook", outbox, WebhookClient(server.url, "run"), RateLimit(100), lambda _: None)
    server.codes += [503, 503]
    outbox.put(ALARM)
    sender.start()
    sender.finish(10)
    assert [message["kind"] for message in server.received] == ["alarm"] and len(outbox) == 0
