"""Brings what waits in an outbox to a door: at a bearable pace, again after a failure, and never in anyone's way."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from monitoring.messaging.message import Message
from monitoring.messaging.outbox import Outbox

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 300.0
LONGEST_HOLD_SECONDS, LONGEST_CRITICAL_HOLD_SECONDS = 3600.0, 300.0
"""However long a server wants us to be silent."""
MINUTE_SECONDS = 60.0
OUTAGE_SECONDS = 60.0
"""From when on nobody waits for an answer any more, and what is told late is told as one."""


class Unreachable(Exception):
    """It may work later; the message says what is wrong."""


class Flooded(Exception):
    """The server wants silence for a while."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"silence was asked for, {seconds:.0f} s")
        self.seconds = seconds


class Undeliverable(Exception):
    """This one will never be taken."""


class Door(Protocol):
    """Where messages go; each parcel of one is a single request."""

    def parcels(self, message: Message) -> Sequence[Any]: ...
    def send(self, parcel: Any) -> None: ...


class Pace:
    """At most so many requests in any minute."""

    def __init__(self, most_a_minute: int, now: Callable[[], float] = time.monotonic) -> None:
        self._most, self._now = most_a_minute, now
        self._sent: deque[float] = deque(maxlen=most_a_minute)

    def wait_seconds(self) -> float:
        if len(self._sent) < self._most:
            return 0.0
        return max(0.0, self._sent[0] + MINUTE_SECONDS - self._now())

    def note(self) -> None:
        self._sent.append(self._now())


class Courier(threading.Thread):
    """Lives until it is told to finish or to stop."""

    def __init__(self, name: str, outbox: Outbox, door: Door, pace: Pace, say: Callable[[str], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._outbox, self._door, self._pace, self._say = outbox, door, pace, say
        self._opened: tuple[Message, deque[Any]] | None = None  # a message of which a part was sent
        self._hold_until = self._critical_until = 0.0
        self._wait, self._failing_since = 0.0, 0.0  # since the last success
        self.end, self.give_up = threading.Event(), threading.Event()

    def run(self) -> None:
        while not self.give_up.is_set():
            message = self._next()
            if message is None:
                if self.end.is_set() and len(self._outbox) == 0:
                    break
                self._rest(self._seconds_to_wait())
            elif (seconds := self._pace.wait_seconds()) > 0:
                self.give_up.wait(seconds)
            else:
                self._bring(message)

    def finish(self, seconds: float) -> None:
        """Bring the rest, as far as that is possible in this time; what is left stays in the outbox."""
        self.end.set()
        self._outbox.filled.set()
        self.join(seconds)
        self.stop()

    def stop(self) -> None:
        """After the request under way."""
        self.give_up.set()
        self._outbox.filled.set()
        self.join()

    def _next(self) -> Message | None:
        now = time.monotonic()
        if now < self._critical_until:
            return None
        return self._outbox.first(only_critical=now < self._hold_until)

    def _seconds_to_wait(self) -> float:
        """For the end of a silence, or for something to do."""
        until = self._critical_until if self._outbox.first(only_critical=True) else self._hold_until
        return min(1.0, max(0.05, until - time.monotonic())) if len(self._outbox) else 1.0

    def _rest(self, seconds: float) -> None:
        if len(self._outbox) or self.end.is_set():
            self.give_up.wait(min(seconds, 0.2) if self.end.is_set() else seconds)
        else:
            self._outbox.filled.wait(seconds)
            self._outbox.filled.clear()

    def _bring(self, message: Message) -> None:
        """The next parcel of it."""
        try:
            if self._opened is None or self._opened[0] != message:
                self._opened = message, deque(self._door.parcels(message))
            self._send_one(self._opened[1])
        except Exception as error:  # a bug: it is told, and whoever comes next does not meet it again
            self._say(f"{self.name}: ended by {type(error).__name__}; companion/log.txt in the run's folder says more")
            self._outbox.done(message)
            self._outbox.save_if_possible()
            raise
        if not self._opened[1]:
            self._outbox.done(message)
            self._outbox.save_if_possible()
            self._opened = None

    def _send_one(self, parcels: deque[Any]) -> None:
        try:
            if parcels:
                try:
                    self._door.send(parcels[0])
                finally:
                    self._pace.note()  # when it has arrived for sure, so that the server counts no more than we do
                parcels.popleft()
        except Flooded as flood:
            self._hold(flood.seconds)
        except Unreachable as error:
            self._failed(error)
        except Undeliverable as error:
            self._say(f"{self.name}: a message was refused ({error})")
            parcels.popleft()
        else:
            self._wait = 0.0

    def _hold(self, seconds: float) -> None:
        now = time.monotonic()
        self._hold_until = now + min(seconds, LONGEST_HOLD_SECONDS)
        self._critical_until = now + min(seconds, LONGEST_CRITICAL_HOLD_SECONDS)

    def _failed(self, error: Unreachable) -> None:
        """What has waited for long is brought as one."""
        if not self._wait:
            self._failing_since = time.monotonic()
            self._say(f"{self.name}: {error}; messages are kept and sent later")
        self._wait = min(LONGEST_WAIT_SECONDS, 2 * self._wait or FIRST_WAIT_SECONDS)
        self.give_up.wait(self._wait)
        if time.monotonic() - self._failing_since > OUTAGE_SECONDS:
            self._outbox.digest()
        self._outbox.save_if_possible()
