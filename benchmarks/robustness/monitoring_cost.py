"""What it costs a training to be watched by everything there is, and whether it loses a step when nobody answers.

`python -m benchmarks monitoring_cost` trains the demo once with Telegram, webhook, MLflow, TensorBoard and the report
on, all on this machine. In turns the companion process is stopped (SIGSTOP) and goes on, within one training: that is
what its work costs the steps beside it. What the training process itself spends on the journal, on what it leaves to be
shown, on the display and on looking for orders is timed directly. Then four short trainings: undisturbed, and with a
dead Telegram, a dead MLflow server, and both. Exits 1 when a bar is missed.
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
from pathlib import Path
from typing import Any

import train_enhanced
from benchmarks.robustness.fake_bot_api import TOKEN, AgreeableBotApi
from commands.console import open_console
from commands.process.companion_process import CompanionProcess
from commands.process.heartbeat import Heartbeat
from commands.run import event_publisher
from commands.run.corpus import prepare_corpus
from commands.run.event_publisher import EventPublisher, report_progress
from commands.run.job import plan_job
from commands.run.person_requests import RequestHandler
from commands.run.session import write_hparams
from corpus.utterances import safe_name
from models import build_model
from monitoring.journal.journal import read_journal
from monitoring.journal.recorder import RunRecorder
from monitoring.journal.sample_writer import SampleNaming, SampleWriter
from monitoring.terminal.progress import ProgressDisplay
from smart_tuner.settings import load_settings
from training.run_state import RunLimits
from training.trainer import EnhancedTrainer

MOST_SHARE = 0.01
TURN_STEPS = 30  # with the companion stopped or running
WARM_UP_STEPS = 60
NOBODY = "http://127.0.0.1:9"


class Stopwatch:
    """How long calls took in all."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def call_timed(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                self.seconds += time.perf_counter() - began

        return call_timed


MEASURING = Stopwatch()


class Timed(Stopwatch):
    """A watcher whose time is taken; between the steps it lets the companion work or not."""

    def __init__(self, watcher: Any, turn: Callable[[int], None]) -> None:
        super().__init__()
        self.watcher, self.turn = watcher, turn
        self.steps: list[tuple[int, float, float]] = []  # number, seconds until it was reported, frames
        self._ended: float | None = None

    def __getattr__(self, name: str) -> Any:
        return self.timed(getattr(self.watcher, name))

    def on_step(self, report: Any) -> None:
        now = time.perf_counter()
        if self._ended is not None:
            seconds = now - self._ended
            self.steps.append((report.step, seconds, report.frames_per_second * seconds))
        self.timed(self.watcher.on_step)(report)
        self.turn(report.step)
        self._ended = time.perf_counter()

    def on_evaluation(self, report: Any) -> float | None:
        score: float | None = self.timed(self.watcher.on_evaluation)(report)
        self._ended = None  # evaluating is training's own, and no step
        return score

    def after_checkpoint(self, **named: Any) -> None:
        self.timed(self.watcher.after_checkpoint)(**named)
        self._ended = None


class Turns:
    """Has the companion stand still every other stretch of steps."""

    def __init__(self, companion: CompanionProcess) -> None:
        self._companion = companion
        self.stopped: set[int] = set()

    def __call__(self, step: int) -> None:
        stands_still = step // TURN_STEPS % 2 == 1
        if step % TURN_STEPS == 0:
            self.let(go_on=not stands_still)
        if stands_still:
            self.stopped.add(step + 1)

    def let(self, *, go_on: bool) -> None:
        if self._companion.pid is not None:
            os.kill(self._companion.pid, signal.SIGCONT if go_on else signal.SIGSTOP)


def watched_training(folder: Path, api: AgreeableBotApi, max_steps: int) -> tuple[Timed, set[int]]:
    """The demo with everything on; returns the times and the steps during which the companion stood still."""
    config, run = folder / "config.yaml", folder / "watched"
    config.write_text(
        f"telegram: {{enabled: true, chat_id: 1, allowed_users: [1], base_url: '{api.base_url}'}}\n",
        encoding="utf-8",
    )
    run.mkdir()
    for name in ("utterance_signals", "evaluation_signals"):
        setattr(event_publisher, name, MEASURING.timed(getattr(event_publisher, name)))
    arguments = ["--config", str(config), "--output", str(folder), "--max_steps", str(max_steps)]
    options = train_enhanced.parse_options(arguments)
    job, companion = plan_job(options), CompanionProcess(options)
    corpus = prepare_corpus(options, job.hparams, job.console)
    data = corpus.training_data(job.hparams, ())
    display = ProgressDisplay(
        open_console(), name="watched", last_step=max_steps, plan_steps=max_steps, line_seconds=10
    )
    samples = SampleWriter(run, SampleNaming(data.symbols, safe_name), n_samples=job.hparams.evaluation_samples)
    record = RunRecorder(run, samples, model=job.hparams.model, display=display)
    turns = Turns(companion)
    timed = Timed(EventPublisher(record, [report_progress(Heartbeat(None))]), turns)
    model = build_model(job.hparams, len(data.symbols))
    trainer = EnhancedTrainer(model, data, job.hparams, folder=run, observer=timed, device=job.device)
    orders = RequestHandler(trainer, record, None, load_settings(config).supervision, Heartbeat(None), position=None)
    trainer.before_step = timed.timed(orders.execute_new)
    told: dict[str, Any] = {"hparams": job.hparams.model_dump(mode="json"), "data": None}
    told |= {"choices": {"device": "cpu", "precision": "float32"}, "train_utterances": len(corpus.train)}
    record.journal.write("started", 0, **told, held_out_utterances=len(corpus.held_out))
    write_hparams(run, job.hparams)
    companion.start(run)
    try:
        trainer.fit(RunLimits(max_steps=max_steps))
        record.finish(status="finished", reason="max_steps")
    finally:
        turns.let(go_on=True)
        record.close()
        companion.finish()
    return timed, turns.stopped


def report_cost(timed: Timed, stopped: set[int]) -> bool:
    """Print the table of costs; whether the bar is reached.

    All of the companion's work falls into the steps beside which it may work: what those take longer, spread over all
    steps, is what it would cost if nobody had stopped it.
    """
    known = [told for told in timed.steps if told[0] > WARM_UP_STEPS and told[0] % TURN_STEPS > 1]
    alone = _seconds_a_frame([told for told in known if told[0] in stopped])
    beside = _seconds_a_frame([told for told in known if told[0] not in stopped])
    slower = (beside / alone - 1) * sum(told[0] not in stopped for told in known) / len(known)
    step = statistics.fmean(seconds for _, seconds, _ in known)
    own = (timed.seconds - MEASURING.seconds) / len(timed.steps) / step
    measuring = MEASURING.seconds / len(timed.steps) / step
    rows = [
        ("a thousand frames while the companion is stopped, mean", f"{1e6 * alone:.2f} ms"),
        ("the same while it works", f"{1e6 * beside:.2f} ms, {beside / alone - 1:+.2%}"),
        ("steps are slower by the companion's work beside them", f"{slower:.2%}"),
        ("and by the training process's own (journal, samples, display, orders)", f"{own:.2%}"),
        ("watching, together", f"{max(0.0, slower) + own:.2%} (wanted: at most {MOST_SHARE:.0%})"),
        (
            "beside it: measuring what decides on the best checkpoint",
            f"{measuring:.2%}",
        ),
    ]
    for name, figure in rows:
        sys.stdout.write(f"{name:<72} {figure}\n")
    return max(0.0, slower) + own <= MOST_SHARE


def _seconds_a_frame(steps: Sequence[tuple[int, float, float]]) -> float:
    """Batches differ in length, and a step takes as long as its frames."""
    return sum(seconds for _, seconds, _ in steps) / sum(frames for _, _, frames in steps)


def steps_lost(folder: Path, cache: Path) -> bool:
    """Train with dead services; whether every run did the same steps, bit for bit."""
    dead_telegram = f"telegram: {{enabled: true, chat_id: 1, base_url: '{NOBODY}/bot'}}\n"
    dead_mlflow = f"mlflow: {{uri: '{NOBODY}'}}\n"
    configs = {
        "undisturbed": "mlflow: {enabled: false}\n",
        "dead Telegram": dead_telegram,
        "dead MLflow": dead_mlflow,
        "both dead": dead_telegram + dead_mlflow,
    }
    losses: dict[str, dict[int, float]] = {}
    for name, content in configs.items():
        output = folder / safe_name(name)
        output.mkdir()
        (output / ".cache").symlink_to(cache)
        config = output / "config.yaml"
        config.write_text(content, encoding="utf-8")
        arguments = ["--preset", "tiny", "--max_steps", "120", "--output", str(output), "--config", str(config)]
        train_enhanced.main([*arguments, "--run_name", "run", "--quiet"])
        losses[name] = _losses(output / "run")
        lost = sum(losses[name].get(step) != loss for step, loss in losses["undisturbed"].items())
        sys.stdout.write(f"{name:<72} {len(losses[name])} steps, {lost} lost or other than undisturbed\n")
    return all(found == losses["undisturbed"] and len(found) == 120 for found in losses.values())


def _losses(run: Path) -> dict[int, float]:
    records = [record for record in read_journal(run / "journal.jsonl") if record["kind"] == "steps"]
    return {
        step: loss
        for record in records
        for step, loss in zip(record["steps"], record["signals"]["total_loss"], strict=True)
    }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks monitoring_cost", description=__doc__)
    parser.add_argument("--steps", type=int, default=720)
    options = parser.parse_args(arguments)
    os.environ["TELEGRAM_BOT_TOKEN"] = TOKEN
    with tempfile.TemporaryDirectory() as temporary:
        folder, api = Path(temporary), AgreeableBotApi()
        try:
            is_cheap = report_cost(*watched_training(folder, api, options.steps))
            sys.stdout.write(f"messages that Telegram got meanwhile: {api.n_messages}\n")
            loses_nothing = steps_lost(folder, folder / ".cache")
        finally:
            api.close()
    return 0 if is_cheap and loses_nothing else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
