"""Cost of all monitoring to a training, and steps lost when monitoring services do not answer.

`python -m benchmarks monitoring_cost` trains the demo once with Telegram, MLflow, TensorBoard and the report all
enabled, on this machine. Within that training the companion process is stopped (SIGSTOP) and continued in turns of
some steps: the difference is the cost of its work to the steps beside it. The work of the training process itself (the
journal, the samples, the display, reading requests) is timed directly. Then follow four short trainings: undisturbed,
with an unreachable Telegram, with an unreachable MLflow server, and with both. Exits 1 when a requirement is missed.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import train_enhanced
from benchmarks import program
from benchmarks.reporting import conclude
from benchmarks.robustness.fake_bot_api import TOKEN, FakeBotApi
from commands.console import open_console
from commands.process.companion_process import CompanionProcess
from commands.process.heartbeat import Heartbeat
from commands.run import event_publisher
from commands.run.corpus import PreparedCorpus, prepare_corpus
from commands.run.event_publisher import EventPublisher, report_progress
from commands.run.job import TrainingJob, plan_job
from commands.run.person_requests import RequestHandler
from commands.run.session import write_hparams
from files import safe_name
from models import build_model
from monitoring.journal.recorder import RunRecorder
from monitoring.journal.sample_writer import SampleWriter
from monitoring.terminal.progress import ProgressDisplay
from smart_tuner.settings import load_settings
from training.run_state import RunLimits, RunState
from training.trainer import EnhancedTrainer

MAX_SHARE = 0.01
TURN_STEPS = 30  # with the companion stopped or running
WARM_UP_STEPS = 60
UNREACHABLE = "http://127.0.0.1:9"


class CallTimer:
    """Total time of all calls of the functions it wraps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call_timed(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - started

        return call_timed


class TimedObserver(CallTimer):
    """Observer that times another one's work and the steps between; `on_step_end` is called between two steps."""

    def __init__(self, observer: Any, on_step_end: Callable[[int], None]) -> None:
        super().__init__()
        self._observer, self._on_step_end = observer, on_step_end
        self.steps: list[tuple[int, float, float]] = []  # number, seconds until the report, frames
        self._step_end: float | None = None

    def __getattr__(self, name: str) -> Any:
        return self.timed(getattr(self._observer, name))

    def on_step(self, report: Any) -> None:
        now = time.perf_counter()
        if self._step_end is not None:
            seconds = now - self._step_end
            self.steps.append((report.step, seconds, report.frames_per_second * seconds))
        self.timed(self._observer.on_step)(report)
        self._on_step_end(report.step)
        self._step_end = time.perf_counter()

    def on_evaluation(self, report: Any) -> float | None:
        score: float | None = self.timed(self._observer.on_evaluation)(report)
        self._step_end = None  # the evaluation lies between two steps and is no cost of monitoring
        return score

    def on_checkpoint(self, report: Any) -> None:
        self.timed(self._observer.on_checkpoint)(report)
        self._step_end = None  # as after an evaluation


class CompanionSwitch:
    """Switch that stops the companion process in every other turn of some steps."""

    def __init__(self, companion: CompanionProcess) -> None:
        self._companion = companion
        self.stopped_steps: set[int] = set()

    def on_step_end(self, step: int) -> None:
        is_stopped = step // TURN_STEPS % 2 == 1
        if step % TURN_STEPS == 0:
            self.send(signal.SIGSTOP if is_stopped else signal.SIGCONT)
        if is_stopped:
            self.stopped_steps.add(step + 1)

    def send(self, signal_number: signal.Signals) -> None:
        if self._companion.pid is not None:
            os.kill(self._companion.pid, signal_number)


def train_monitored(folder: Path, api: FakeBotApi, max_steps: int) -> tuple[TimedObserver, CallTimer, set[int]]:
    """Train the demo with all monitoring.

    Returns the observer with its times, the timer of the signals that choose the best checkpoint, and the steps during
    which the companion was stopped.
    """
    config, run = folder / "config.yaml", folder / "monitored"
    config.write_text(
        f"telegram: {{enabled: true, chat_id: 1, allowed_users: [1], base_url: '{api.base_url}'}}\n",
        encoding="utf-8",
    )
    run.mkdir()
    options = train_enhanced.parse_options(
        ["--config", str(config), "--output", str(folder), "--max_steps", str(max_steps)]
    )
    job, companion = plan_job(options), CompanionProcess(options)
    corpus = prepare_corpus(options, job.hparams, job.console)
    recorder, data = _open_recorder(job, corpus, run, max_steps), corpus.training_data(job.hparams, ())
    switch = CompanionSwitch(companion)
    publisher = EventPublisher(recorder, [report_progress(Heartbeat(None))])
    observer, measuring = TimedObserver(publisher, switch.on_step_end), CallTimer()
    model = build_model(job.hparams, len(data.symbols))
    state = RunState(model, data, job.hparams, folder=run, observer=observer, device=job.device)
    trainer = EnhancedTrainer(state)
    settings = load_settings(config).supervision
    requests = RequestHandler(
        trainer, recorder, supervisor=None, settings=settings, heartbeat=Heartbeat(None), position=None
    )
    trainer.before_step = observer.timed(requests.execute_new)
    _journal_start(recorder, job, corpus)
    write_hparams(run, job.hparams)
    companion.start(run)
    try:
        with ExitStack() as patches:
            for name in ("utterance_signals", "evaluation_signals"):
                function = getattr(event_publisher, name)
                patches.enter_context(patch.object(event_publisher, name, measuring.timed(function)))
            trainer.fit(RunLimits(max_steps=max_steps))
        recorder.finish(status="finished", reason="max_steps")
    finally:
        switch.send(signal.SIGCONT)
        recorder.close()
        companion.finish()
    return observer, measuring, switch.stopped_steps


def _open_recorder(job: TrainingJob, corpus: PreparedCorpus, run: Path, max_steps: int) -> RunRecorder:
    display = ProgressDisplay(open_console(), name=run.name, last_step=max_steps, plan_steps=max_steps, line_seconds=10)
    samples = SampleWriter(run, corpus.frontend.symbols, n_samples=job.hparams.evaluation_samples)
    return RunRecorder(run, samples, model=job.hparams.model, display=display)


def _journal_start(recorder: RunRecorder, job: TrainingJob, corpus: PreparedCorpus) -> None:
    """Write the fields of the first record that the companion reads."""
    recorder.journal.write(
        "started",
        0,
        hparams=job.hparams.model_dump(mode="json"),
        data=None,
        choices={"device": "cpu", "precision": "float32"},
        train_utterances=len(corpus.train),
        held_out_utterances=len(corpus.held_out),
    )


def report_cost(observer: TimedObserver, measuring: CallTimer, stopped_steps: set[int]) -> bool:
    """Print the table of costs; whether monitoring is cheap enough.

    All of the companion's work falls into the steps beside which it may run. Their slowdown, spread over all steps, is
    its cost in a training where it is never stopped.
    """
    steps = [step for step in observer.steps if step[0] > WARM_UP_STEPS and step[0] % TURN_STEPS > 1]
    alone = _seconds_per_frame([step for step in steps if step[0] in stopped_steps])
    beside = _seconds_per_frame([step for step in steps if step[0] not in stopped_steps])
    slowdown = (beside / alone - 1) * sum(step[0] not in stopped_steps for step in steps) / len(steps)
    step_seconds = statistics.fmean(seconds for _, seconds, _ in steps)
    own = (observer.seconds - measuring.seconds) / len(observer.steps) / step_seconds
    measuring_share = measuring.seconds / len(observer.steps) / step_seconds
    total = max(0.0, slowdown) + own
    rows = [
        ("a thousand frames while the companion is stopped, mean", f"{1e6 * alone:.2f} ms"),
        ("the same while it works", f"{1e6 * beside:.2f} ms, {beside / alone - 1:+.2%}"),
        ("steps are slower by the companion's work beside them", f"{slowdown:.2%}"),
        ("work of the training process (journal, samples, display, requests)", f"{own:.2%}"),
        ("all monitoring", f"{total:.2%} (required: at most {MAX_SHARE:.0%})"),
        ("not included: signals that choose the best checkpoint", f"{measuring_share:.2%}"),
    ]
    for name, figure in rows:
        sys.stdout.write(f"{name:<72} {figure}\n")
    return total <= MAX_SHARE


def _seconds_per_frame(steps: Sequence[tuple[int, float, float]]) -> float:
    """Mean time per mel frame: batches differ in length, and the time of a step is proportional to its frames."""
    return sum(seconds for _, seconds, _ in steps) / sum(frames for _, _, frames in steps)


def loses_no_step(folder: Path, cache: Path) -> bool:
    """Train with unreachable services; whether every run did the same steps with equal losses."""
    no_telegram = f"telegram: {{enabled: true, chat_id: 1, base_url: '{UNREACHABLE}/bot'}}\n"
    no_mlflow = f"mlflow: {{uri: '{UNREACHABLE}'}}\n"
    configs = {
        "undisturbed": "mlflow: {enabled: false}\n",
        "dead Telegram": no_telegram,
        "dead MLflow": no_mlflow,
        "both dead": no_telegram + no_mlflow,
    }
    losses: dict[str, dict[int, float]] = {}
    for name, content in configs.items():
        output = folder / safe_name(name)
        output.mkdir()
        (output / ".cache").symlink_to(cache)
        config = output / "config.yaml"
        config.write_text(content, encoding="utf-8")
        arguments = ["--preset", "tiny", "--max_steps", "120", "--output", str(output), "--config", str(config)]
        arguments += ["--hparams", "precision=float32,cpu_threads=1"]  # measured choices may differ from run to run
        train_enhanced.main([*arguments, "--run_name", "run", "--quiet"])
        values = program.step_values(program.read_records(output / "run"), "total_loss")
        losses[name] = {step: loss for step, (loss,) in values}
        lost = sum(losses[name].get(step) != loss for step, loss in losses["undisturbed"].items())
        sys.stdout.write(f"{name:<72} {len(losses[name])} steps, {lost} lost or other than undisturbed\n")
    return all(steps == losses["undisturbed"] and len(steps) == 120 for steps in losses.values())


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks monitoring_cost", description=__doc__)
    parser.add_argument("--steps", type=int, default=720)
    options = parser.parse_args(arguments)
    os.environ["TELEGRAM_BOT_TOKEN"] = TOKEN
    with tempfile.TemporaryDirectory() as temporary:
        folder, api = Path(temporary), FakeBotApi()
        try:
            is_cheap = report_cost(*train_monitored(folder, api, options.steps))
            sys.stdout.write(f"messages sent to Telegram meanwhile: {api.n_messages}\n")
            is_undisturbed = loses_no_step(folder, folder / ".cache")
        finally:
            api.close()
    return conclude(sys.stdout.write, is_met=is_cheap and is_undisturbed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
