"""--mode validate: measure a voice or checkpoint on held-out utterances."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from commands.console import open_console
from commands.options import TrainOptions
from commands.run.corpus import PreparedCorpus, prepare_corpus
from commands.run.job import choose_device, option_values, set_up_processor
from commands.run.run_folder import best_voice_file, latest_run
from hparams import parse_overrides
from models.weights import require_compatible
from monitoring.journal.journal import read_journal
from monitoring.measures.evaluation import evaluation_signals
from monitoring.measures.signals import Signals
from reports import EvaluationReport
from speech.decoding import evaluation_mode
from speech.voice import Voice, load_voice
from training.evaluation import evaluate_utterances
from training.knobs import Knobs
from training.step.precision import Precision


def run(options: TrainOptions) -> int:
    console = open_console(keep_stdout=options.json)
    path = find_voice_file(options)
    voice = load_voice(path, parse_overrides(options.hparams), option_values(options))
    corpus = prepare_corpus(with_training_data(options, path), voice.hparams, console)
    require_compatible(voice.saved, voice.hparams, corpus.frontend.symbols)
    set_up_processor(voice.hparams)
    report = evaluate_voice(voice, corpus, device=choose_device(options.device))
    signals = evaluation_signals(report)
    result = {"checkpoint": str(path), "step": voice.step, "utterances": len(report.decodes), "signals": signals}
    if options.json:
        sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
    else:
        console.print(_table(result, signals))
    return 0


def find_voice_file(options: TrainOptions) -> Path:
    """Return the checkpoint or voice of --resume, else the best voice of --run, else that of the latest run."""
    path = options.resume_path
    if path is not None:
        return best_voice_file(path) if path.is_dir() else path
    return best_voice_file(options.run or latest_run(options.output))


def with_training_data(options: TrainOptions, voice: Path) -> TrainOptions:
    """Without --data, take the data that the run was trained on according to its journal."""
    run = voice.parent.parent if voice.parent.name == "checkpoints" else voice.parent
    if options.data is not None or not (run / "journal.jsonl").is_file():
        return options
    starts = [record for record in read_journal(run / "journal.jsonl") if "data" in record]
    if not starts:
        return options
    return replace(options, data=starts[-1]["data"], data_format=starts[-1]["data_format"])


def evaluate_voice(voice: Voice, corpus: PreparedCorpus, *, device: torch.device) -> EvaluationReport:
    model, hparams = voice.model.to(device), voice.hparams
    loss_knobs = Knobs.from_hparams(hparams).for_losses(voice.step, hparams)
    held_out = corpus.training_data(hparams, ()).held_out
    with evaluation_mode(model, hparams.seed), Precision(hparams.precision, device).autocast():
        losses, decodes = evaluate_utterances(model, held_out, hparams, loss_knobs)
    return EvaluationReport(
        step=voice.step, epoch=0, training_seconds=0.0, losses=losses, decodes=decodes, sentences=()
    )


def _table(result: dict[str, Any], signals: Signals) -> str:
    width = max(map(len, signals))
    lines = [f"{name:<{width}}  {'–' if value is None else format(value, '.4f')}" for name, value in signals.items()]
    heading = f"{result['checkpoint']} at step {result['step']}, on {result['utterances']} held-out utterances"
    return "\n".join([heading, *lines])
