"""What a run says of itself in summary.json; as light as the watchdog that reads it too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_summary(folder: Path) -> dict[str, Any]:
    """Empty where a run has not come to write one."""
    path = folder / "summary.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
