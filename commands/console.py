"""What the person reads while a mode runs."""

from __future__ import annotations

import sys

from rich.console import Console


def open_console(*, quiet: bool = False) -> Console:
    """Standard output, or standard error when standard output is kept for JSON (`quiet`)."""
    return Console(file=sys.stderr if quiet else sys.stdout, markup=False, highlight=False, soft_wrap=True)
