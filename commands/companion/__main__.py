"""Command line of the companion: show what is new in a run's journal; with --follow until standard input ends.

Whoever started the companion holds its standard input open, so it ends with that process.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from commands.companion.companion import run_companion
from commands.companion.log import log_exception
from commands.process.exit_codes import EXIT_USER_ERROR
from hparams import UserError
from smart_tuner.settings import DEFAULT_CONFIG, load_settings

NICENESS = 10


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m commands.companion", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run, for example logs/<run>")
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="settings file")
    parser.add_argument("--mlflow_uri", help="an MLflow server")
    parser.add_argument("--follow", action="store_true", help="continue until standard input ends")
    options = parser.parse_args(arguments)
    try:
        settings = load_settings(options.config, mlflow_uri=options.mlflow_uri)
        if not (options.run / "journal.jsonl").is_file():
            raise UserError(f"{options.run}: no run found; expected a folder like logs/<run>")
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_USER_ERROR
    return run_companion(options.run.resolve(), settings, follow=options.follow)


if __name__ == "__main__":
    os.nice(NICENESS)
    logging.basicConfig(level=logging.INFO)
    threading.excepthook = log_exception
    sys.exit(main(sys.argv[1:]))
