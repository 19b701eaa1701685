"""Local server in place of the Telegram Bot API; it accepts every request."""

from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "1:token"
POLL_SECONDS = 20.0


class FakeBotApi:
    """Bot API on the loopback interface that counts the messages it gets."""

    def __init__(self) -> None:
        self.n_messages = 0
        self._closing = threading.Event()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = json.dumps({"ok": True, "result": api.answer(self.path.rpartition("/")[2])}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # the client may have gone while it polled
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/bot"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, method: str) -> object:
        if method == "getUpdates":
            self._closing.wait(POLL_SECONDS)
            return []
        self.n_messages += 1
        message = {"message_id": self.n_messages, "date": 0, "chat": {"id": 1, "type": "private"}}
        return [message] if method == "sendMediaGroup" else message

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
