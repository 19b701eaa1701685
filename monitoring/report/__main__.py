"""`python -m monitoring.report logs/<run>` writes report.html; `--compare` puts runs side by side."""

from __future__ import annotations

import sys

from monitoring.report.report import main

sys.exit(main(sys.argv[1:]))
