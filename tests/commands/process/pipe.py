"""Pipe of a heartbeat, read by a test in the watchdog's place."""

from __future__ import annotations

import json
import os


class Pipe:
    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self.writer, False)

    def messages(self) -> list[list[str | int]]:
        return [json.loads(line) for line in os.read(self.reader, 1_000_000).splitlines()]
