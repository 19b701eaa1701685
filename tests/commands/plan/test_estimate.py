"""Forecast of a run: measured on batches that grow as far as memory allows, and renewed when it turns out wrong."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from commands.plan.estimate import GROWTH, time_text
from commands.plan.forecast_check import FIRST_CHECK_STEPS, ForecastCheck, _mean_without_pauses
from corpus.batches import Batch
from hparams import HParams
from models import TrainableModel
from monitoring.events import EvaluationStartEvent, SaveStartEvent, StepEvent
from tests.monitoring.measures.sample_reports import make_step
from tests.support.program import Program
from training.run_state import RunLimits
from training.step.probe import ProbeResult, ProbeTime, run_probe

NO_MEMORY = {
    "cpu": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9000000000 bytes."),
    "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB"),
}


def fail_in_larger_batches(monkeypatch: pytest.MonkeyPatch, error: RuntimeError) -> list[int]:
    """Let probes of more than GROWTH utterances raise; return the list that receives the size of each."""
    sizes: list[int] = []

    def probe(model: TrainableModel, batch: Batch, hparams: HParams) -> ProbeResult:
        sizes.append(len(batch.ids))
        if sizes[-1] > GROWTH:
            raise error
        return replace(run_probe(model, batch, hparams), seconds=0.0)

    monkeypatch.setattr("commands.plan.estimate.run_probe", probe)
    monkeypatch.setattr(
        "commands.plan.settled_recipe.ProbeTime", lambda *_: ProbeTime(10**9, math.inf, now=lambda: 0.0)
    )
    monkeypatch.setattr(ProbeTime, "limit_to_run", lambda *_: None)
    return sizes


@pytest.mark.parametrize("device", NO_MEMORY)
def test_where_a_whole_batch_does_not_fit_a_smaller_one_is_the_measure(
    program: Program, data: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    sizes = fail_in_larger_batches(monkeypatch, NO_MEMORY[device])
    outcome = program.train(data, "--max_steps", 1, batch_size=8)
    assert outcome.code == 0 and "time about" in outcome.flat
    assert sizes == [1, 1, GROWTH, GROWTH, 7]


@pytest.mark.parametrize(("seconds", "sizes"), [(0.01, [1, 1, GROWTH, GROWTH, 7, 7]), (0.2, [1, 1])])
def test_only_quick_measurements_are_made_when_the_time_for_them_is_over(
    program: Program, data: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, sizes: list[int]
) -> None:
    measured: list[int] = []

    def probe(model: TrainableModel, batch: Batch, hparams: HParams) -> ProbeResult:
        measured.append(len(batch.ids))
        return replace(run_probe(model, batch, hparams), seconds=seconds * measured[-1])

    monkeypatch.setattr("commands.plan.estimate.run_probe", probe)
    monkeypatch.setattr("commands.plan.settled_recipe.ProbeTime", lambda *_: ProbeTime(10**9, 0.0, now=lambda: 0.0))
    assert program.train(data, "--max_steps", 1, batch_size=8).code == 0
    assert measured == sizes


def test_another_error_of_the_measurement_is_raised(
    program: Program, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in_larger_batches(monkeypatch, RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        program.train(data, "--max_steps", 1, batch_size=8)


class Run:
    """A run with a forecast of one second a step, and a clock that steps and other work move on."""

    def __init__(self) -> None:
        self.seconds, self.step = 0.0, 0
        self.notes: list[tuple[int, str]] = []
        self.check = ForecastCheck(
            1.0,
            last_step=1000,
            limits=RunLimits(),
            write_note=lambda step, text: self.notes.append((step, text)),
            now=lambda: self.seconds,
        )

    def train(self, n_steps: int, seconds: float) -> None:
        for _ in range(n_steps):
            self.seconds, self.step = self.seconds + seconds, self.step + 1
            self.check.on_event(StepEvent(make_step(step=self.step), {}, {}))


@pytest.mark.parametrize("seconds", [0.6, 1.4])
def test_a_forecast_that_is_about_right_is_left_alone(seconds: float) -> None:
    run = Run()
    run.train(200, seconds)
    assert run.notes == []


@pytest.mark.parametrize(("seconds", "time_left"), [(0.2, "3 min"), (6.0, "1.6 h")])
def test_a_forecast_that_is_wrong_by_more_than_half_is_renewed_once(seconds: float, time_left: str) -> None:
    run = Run()
    run.train(200, seconds)
    ((step, text),) = run.notes
    assert step == FIRST_CHECK_STEPS + 1
    steps = f"{1000 - step} steps of {seconds:.2f} s"
    assert text == f"the forecast of 1.00 s a step was wrong: about {time_left} for {steps}"


def test_the_plan_is_corrected_by_the_mean_of_a_step_without_pauses() -> None:
    """Long recordings raise the mean above the median; a machine that was asleep does not."""
    assert _mean_without_pauses([1.0, 1.0, 1.0, 3.0, 3.5]) == pytest.approx(1.9)
    assert _mean_without_pauses([1.0, 1.0, 1.0, 3.0, 3_600.0]) == pytest.approx(2.0)


def test_evaluations_and_checkpoints_do_not_count_as_steps() -> None:
    run = Run()
    for event in (EvaluationStartEvent(), SaveStartEvent()) * 20:
        run.train(2, 1.0)
        run.check.on_event(event)
        run.seconds += 60.0
    assert run.notes == []


def test_what_a_budget_of_minutes_will_reach_is_said() -> None:
    assert time_text(1000, 2.0, float("inf")) == "about 33 min for 1,000 steps of 2.00 s"
    assert time_text(1000, 2.0, 2000.0) == "about 33 min for 1,000 steps of 2.00 s"
    assert time_text(1000, 2.0, 600.0) == (
        "10 min of --max_minutes are left: about 300 of 1,000 steps of 2.00 s; all of them would take 33 min"
    )
