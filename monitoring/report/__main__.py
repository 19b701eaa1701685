"""Command line: `python -m monitoring.report logs/<run>` writes report.html, `--compare` a comparison of runs."""

from __future__ import annotations

import sys

from monitoring.report.report import main

sys.exit(main(sys.argv[1:]))
