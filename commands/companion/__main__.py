"""`python -m commands.companion logs/<run>` shows what was not shown yet; `--follow` goes on until its input ends."""

from __future__ import annotations

import logging
import os
import sys
import threading

from commands.companion.companion import NICENESS, log_exception, main

if __name__ == "__main__":
    os.nice(NICENESS)
    logging.basicConfig(level=logging.INFO)
    threading.excepthook = log_exception
    sys.exit(main(sys.argv[1:]))
