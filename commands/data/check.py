"""--mode check: report the problems of a corpus; exit code 0 for go, 2 for no-go."""

from __future__ import annotations

import json
import os
import sys

from commands.console import open_console
from commands.options import TrainOptions
from commands.run.corpus import find_corpus
from commands.run.job import build_recipe
from corpus.check.corpus_check import check_corpus, render_report
from corpus.text.frontend import text_frontend
from smart_tuner.settings import load_settings

EXIT_GO, EXIT_NO_GO = 0, 2


def run(options: TrainOptions) -> int:
    hparams = build_recipe(options, load_settings(options.config))
    frontend = text_frontend(hparams)
    _, corpus = find_corpus(options, hparams)
    report = check_corpus(
        corpus, hparams, frontend=frontend, cache_folder=options.output / ".cache" / "mels", workers=os.cpu_count() or 1
    )
    if options.json:
        sys.stdout.write(json.dumps(report.to_json(), ensure_ascii=False) + "\n")
    else:
        open_console().print(render_report(report))
    return EXIT_GO if report.go else EXIT_NO_GO
