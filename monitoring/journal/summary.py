"""Reader of summary.json; imports nothing heavy, since the watchdog uses it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_summary(folder: Path) -> dict[str, Any]:
    """Return the summary of the run in this folder; empty before the run has written one."""
    path = folder / "summary.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
