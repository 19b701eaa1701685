"""What the person reads while a mode runs."""

from __future__ import annotations

import sys

from rich.console import Console


def open_console(*, keep_stdout: bool = False, quiet: bool = False) -> Console:
    """Standard output, or standard error when standard output is kept for JSON; a quiet one says nothing."""
    file = sys.stderr if keep_stdout else sys.stdout
    return Console(file=file, markup=False, highlight=False, soft_wrap=True, quiet=quiet)
