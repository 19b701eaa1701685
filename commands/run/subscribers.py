"""A trainer's watcher that lets the watchdog know, too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from commands.process.heartbeat import Heartbeat
from reports import ArmReport, EvaluationReport, RollbackReport, StepReport, Watcher


class Beating:
    """Hands all on to a watcher and tells the heartbeat what was begun and done."""

    def __init__(self, watcher: Watcher, heartbeat: Heartbeat) -> None:
        self._watcher, self._heartbeat = watcher, heartbeat

    def on_step(self, report: StepReport) -> None:
        self._watcher.on_step(report)
        self._heartbeat.report_step(report.step)

    def before_evaluation(self) -> None:
        self._heartbeat.begin("evaluation")
        self._watcher.before_evaluation()

    def on_evaluation(self, report: EvaluationReport) -> float | None:
        score = self._watcher.on_evaluation(report)
        self._heartbeat.done()
        return score

    def before_checkpoint(self) -> None:
        self._heartbeat.begin("save")
        self._watcher.before_checkpoint()

    def after_checkpoint(self, *, latest: Path, best: Path | None, kept: Sequence[int]) -> None:
        self._watcher.after_checkpoint(latest=latest, best=best, kept=kept)
        self._heartbeat.done()

    def on_rollback(self, report: RollbackReport) -> None:
        self._watcher.on_rollback(report)

    def on_arm_step(self) -> None:
        self._watcher.on_arm_step()
        self._heartbeat.done()

    def on_quarantine(self, utterances: Sequence[str], reason: str) -> None:
        self._watcher.on_quarantine(utterances, reason)

    def on_race(self, start_step: int, arms: Sequence[ArmReport]) -> int:
        choice = self._watcher.on_race(start_step, arms)
        self._heartbeat.done()
        return choice

    def state_dict(self) -> dict[str, Any]:
        return self._watcher.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._watcher.load_state_dict(state)
