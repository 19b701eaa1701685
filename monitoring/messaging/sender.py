"""Thread that sends the messages of an outbox: within a rate limit, again after a failure, never blocking anyone."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from monitoring.messaging.message import Message
from monitoring.messaging.outbox import Outbox

FIRST_WAIT_SECONDS, MAX_WAIT_SECONDS = 1.0, 300.0  # between attempts; each wait is twice the one before
# Upper limits of the pause that a server may ask for:
MAX_HOLD_SECONDS, MAX_CRITICAL_HOLD_SECONDS = 3600.0, 300.0
MINUTE_SECONDS = 60.0
OUTAGE_SECONDS = 60.0  # a longer failure is an outage: waiting messages are condensed into one


class ServerUnreachable(Exception):
    """The server does not accept messages now, but may later; the text says why."""


class RateLimited(Exception):
    """The server asks for a pause of `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the server asks for a pause of {seconds:.0f} s")
        self.seconds = seconds


class MessageRejected(Exception):
    """The server will never accept this message."""


class MessageTransport(Protocol):
    """Client of a messaging service."""

    def build_requests(self, message: Message) -> Sequence[Any]:
        """Build the requests that deliver one message."""

    def send(self, request: Any) -> None:
        """Send one request; raise ServerUnreachable, RateLimited or MessageRejected if it fails."""


class RateLimit:
    """Upper limit for the number of requests within any minute."""

    def __init__(self, per_minute: int, now: Callable[[], float] = time.monotonic) -> None:
        self._per_minute, self._now = per_minute, now
        self._times: deque[float] = deque(maxlen=per_minute)

    def wait_seconds(self) -> float:
        if len(self._times) < self._per_minute:
            return 0.0
        return max(0.0, self._times[0] + MINUTE_SECONDS - self._now())

    def count_request(self) -> None:
        self._times.append(self._now())


class MessageSender(threading.Thread):
    """Thread that sends an outbox's messages until `finish` or `stop` is called."""

    def __init__(
        self, name: str, outbox: Outbox, transport: MessageTransport, limit: RateLimit, warn: Callable[[str], None]
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._outbox, self._transport, self._limit, self._warn = outbox, transport, limit, warn
        self._current: tuple[Message, deque[Any]] | None = None  # a message and its requests that are still to be sent
        self._hold_until = self._critical_hold_until = 0.0
        self._retry_seconds, self._failing_since = 0.0, 0.0  # since the last success
        self._finish_requested, self._stop_requested = threading.Event(), threading.Event()

    def run(self) -> None:
        while not self._stop_requested.is_set():
            message = self._next_message()
            if message is None:
                if self._finish_requested.is_set() and len(self._outbox) == 0:
                    break
                self._wait_for_message()
            elif (seconds := self._limit.wait_seconds()) > 0:
                self._stop_requested.wait(seconds)
            else:
                self._send_next_request(message)

    def finish(self, seconds: float) -> None:
        """Send the rest within `seconds`, then stop; the outbox keeps what could not be sent."""
        self._finish_requested.set()
        self._outbox.has_new.set()
        self.join(seconds)
        self.stop()

    def stop(self) -> None:
        """Stop after the current request."""
        self._stop_requested.set()
        self._outbox.has_new.set()
        self.join()

    def _next_message(self) -> Message | None:
        now = time.monotonic()
        if now < self._critical_hold_until:
            return None
        return self._outbox.first(only_critical=now < self._hold_until)

    def _wait_for_message(self) -> None:
        """Wait for a new message, for the end of a pause, or for a second."""
        if self._finish_requested.is_set():
            self._stop_requested.wait(min(self._hold_seconds(), 0.2))
        elif len(self._outbox):
            self._stop_requested.wait(self._hold_seconds())
        else:
            self._outbox.has_new.wait(1.0)
            self._outbox.has_new.clear()

    def _hold_seconds(self) -> float:
        has_critical = self._outbox.first(only_critical=True) is not None
        until = self._critical_hold_until if has_critical else self._hold_until
        return min(1.0, max(0.05, until - time.monotonic())) if len(self._outbox) else 1.0

    def _send_next_request(self, message: Message) -> None:
        try:
            if self._current is None or self._current[0] != message:
                self._current = message, deque(self._transport.build_requests(message))
            requests = self._current[1]
            self._send_first(requests)
        except Exception as error:
            # A bug, which ends the thread: drop the message, so that the next session does not fail on it again.
            self._warn(f"{self.name}: ended by {type(error).__name__}; companion/log.txt in the run's folder says more")
            self._drop(message)
            raise
        if not requests:
            self._drop(message)
            self._current = None

    def _drop(self, message: Message) -> None:
        self._outbox.remove(message)
        self._outbox.try_save()

    def _send_first(self, requests: deque[Any]) -> None:
        try:
            if requests:
                try:
                    self._transport.send(requests[0])
                finally:
                    # Count it only now that it has surely arrived, so that the server never counts more than we do.
                    self._limit.count_request()
                requests.popleft()
        except RateLimited as limited:
            self._hold(limited.seconds)
        except ServerUnreachable as error:
            self._wait_to_retry(error)
        except MessageRejected as error:
            self._warn(f"{self.name}: a message was refused ({error})")
            requests.popleft()
        else:
            self._retry_seconds = 0.0

    def _hold(self, seconds: float) -> None:
        now = time.monotonic()
        self._hold_until = now + min(seconds, MAX_HOLD_SECONDS)
        self._critical_hold_until = now + min(seconds, MAX_CRITICAL_HOLD_SECONDS)

    def _wait_to_retry(self, error: ServerUnreachable) -> None:
        if not self._retry_seconds:
            self._failing_since = time.monotonic()
            self._warn(f"{self.name}: {error}; messages are kept and sent later")
        self._retry_seconds = min(MAX_WAIT_SECONDS, 2 * self._retry_seconds or FIRST_WAIT_SECONDS)
        self._stop_requested.wait(self._retry_seconds)
        if time.monotonic() - self._failing_since > OUTAGE_SECONDS:
            self._outbox.condense()
        self._outbox.try_save()
