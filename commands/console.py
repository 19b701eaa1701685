"""Console for the messages of a mode."""

from __future__ import annotations

import sys

from rich.console import Console


def open_console(*, keep_stdout: bool = False, quiet: bool = False) -> Console:
    """Console on standard output, or on standard error when standard output is for JSON; a quiet one prints nothing."""
    file = sys.stderr if keep_stdout else sys.stdout
    return Console(file=file, markup=False, highlight=False, soft_wrap=True, quiet=quiet)
