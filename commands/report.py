"""--mode report: write report.html from a run's folder."""

from __future__ import annotations

from commands.console import open_console
from commands.options import TrainOptions
from commands.run.run_folder import latest_run
from monitoring.language import LANGUAGES
from monitoring.report.report import load_state, write_report
from smart_tuner.settings import load_settings


def run(options: TrainOptions) -> int:
    run = options.run or latest_run(options.output)
    language = LANGUAGES[load_settings(options.config).report.language]
    path = write_report(run, load_state(run), language)
    open_console().print(str(path))
    return 0
