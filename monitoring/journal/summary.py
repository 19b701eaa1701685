"""Reading and writing of summary.json; imports nothing heavy, since the watchdog uses it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from files import write_atomically


def read_summary(folder: Path) -> dict[str, Any]:
    """Return the summary of the run in this folder; empty before the run has written one."""
    path = folder / "summary.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    content = json.dumps(summary, ensure_ascii=False, indent=1, allow_nan=False)
    write_atomically(folder / "summary.json", content.encode("utf-8", "backslashreplace"))
