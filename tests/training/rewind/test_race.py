"""Races: several arms trained from the same checkpoint, of which one continues."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reports import RaceReport, RaceWinner, TrainerOrder
from speech.voice import load_voice
from tests.support.tiny import tiny_hparams
from tests.training.control.test_out_of_memory import limit_memory
from tests.training.orders import (
    ALL_SAVED,
    OrderingObserver,
    comparable_state,
    differences,
    resume,
    saved_path,
    saved_steps,
    train_with_orders,
    trainer_with_orders,
    truncate,
)
from training.run_state import RunLimits
from training.trainer import EnhancedTrainer

ARMS: tuple[dict[str, float], ...] = ({"guide_sigma": 0.3}, {"guide_sigma": 0.8})
RACE = TrainerOrder("race", step=4, arms=ARMS, seeds=(0, 0), n_steps=3)


class RaceObserver(OrderingObserver):
    """Observer that orders a race and chooses a certain arm as its winner."""

    def __init__(self, winner: int, order: TrainerOrder = RACE, *, after_step: int = 6) -> None:
        super().__init__({after_step: [order]})
        self.winner = winner


def run_race(
    folder: Path, winner: int, order: TrainerOrder = RACE, *, steps: int = 7
) -> tuple[EnhancedTrainer, RaceObserver]:
    observer = RaceObserver(winner, order)
    trainer, _ = train_with_orders(folder, observer=observer, max_steps=steps)
    return trainer, observer


def train_from_step_4(folder: Path, knobs: dict[str, float], *, source: EnhancedTrainer, steps: int) -> EnhancedTrainer:
    """Train with these knobs from the checkpoint of step 4 of another training."""
    trainer, _ = trainer_with_orders(folder)
    resume(trainer, saved_path(source, 4))
    trainer.state.turn_knobs(knobs)
    trainer.fit(RunLimits(max_steps=steps))
    return trainer


def state_without_evaluation(trainer: EnhancedTrainer) -> dict[str, Any]:
    state = comparable_state(trainer)
    del state["progress"]["evaluated_step"]
    return state


def test_arms_start_from_the_same_checkpoint_and_data_with_their_own_knobs(tmp_path: Path) -> None:
    _, observer = run_race(tmp_path, 0)
    (arms,) = observer.races
    assert [arm.knobs for arm in arms] == list(ARMS)
    assert [[r.step for r in arm.steps] for arm in arms] == [[5, 6, 7]] * 2
    ids = [[r.utterance_ids for r in arm.steps] for arm in arms]
    assert ids[0] == ids[1] and ids[0][:2] == observer.ids[4:6]
    first, second = (arm.steps[0].loss_parts for arm in arms)
    assert first["mel_loss"] == second["mel_loss"] == observer.steps[4].loss_parts["mel_loss"]
    assert first["guide_loss"] != second["guide_loss"]
    assert [arm.evaluation.step for arm in arms] == [7, 7]
    assert arms[0].evaluation.losses["val_mel_loss"] != arms[1].evaluation.losses["val_mel_loss"]


@pytest.mark.parametrize("winner", [0, 1])
def test_training_continues_exactly_as_if_only_the_winner_had_run(tmp_path: Path, winner: int) -> None:
    trainer, observer = run_race(tmp_path / "race", winner, steps=10)
    state = comparable_state(trainer)
    single = train_from_step_4(tmp_path / "single", ARMS[winner], source=trainer, steps=10)
    assert trainer.state.knobs.guide_sigma == ARMS[winner]["guide_sigma"]
    assert differences(state, comparable_state(single)) == []
    assert [r.step for r in observer.steps] == [1, 2, 3, 4, 5, 6, 8, 9, 10]


@pytest.mark.parametrize(("score", "best"), [(0.8, 7), (0.4, 2)])
def test_winner_competes_for_the_best_checkpoint(tmp_path: Path, score: float, best: int) -> None:
    observer = RaceObserver(1)
    observer.scores = {2: 0.6, 7: score}
    hparams = tiny_hparams(**ALL_SAVED | {"iters_per_evaluation": 2})
    trainer, _ = trainer_with_orders(tmp_path, observer=observer, hparams=hparams)

    trainer.fit(RunLimits(max_steps=8))

    assert trainer.state.progress.best_step == best
    assert load_voice(tmp_path / "voice.safetensors").step == best
    assert observer.checkpoints[-1][1] == saved_path(trainer, best)


def test_losing_arm_leaves_no_trace(tmp_path: Path) -> None:
    trainer, observer = run_race(tmp_path, 0)
    assert saved_steps(trainer) == [1, 2, 3, 4, 7]
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoints"}
    assert trainer.state.data.train.skipped_batches == set()
    first = observer.events.index("arm step")
    assert observer.events[first : first + 11] == [
        *(*["arm step"] * 3, "before evaluation", *["arm step"] * 3, "before evaluation"),
        *("race from 4", "before checkpoint", "after checkpoint"),
    ]
    assert {epoch for _, epoch, _ in comparable_state(trainer)["steering"]["places"]} == {0, 1, 2}
    assert [step for step, _, _ in comparable_state(trainer)["steering"]["places"]] == [1, 2, 3, 4, 5, 6, 7]


def test_arms_continue_beyond_the_end_of_an_epoch(tmp_path: Path) -> None:
    trainer, observer = run_race(tmp_path, 1, replace(RACE, n_steps=6), steps=10)
    assert [r.epoch for r in observer.races[0][1].steps] == [1, 1, 2, 2, 2, 3]
    assert (trainer.state.progress.step, trainer.state.progress.epoch, trainer.state.progress.batch) == (10, 3, 1)


def test_arms_may_differ_in_batches_per_update(tmp_path: Path) -> None:
    arms: tuple[dict[str, float], ...] = ({}, {"batches_per_update": 2.0})
    trainer, observer = run_race(tmp_path / "race", 1, replace(RACE, arms=arms))
    assert [[r.epoch for r in arm.steps] for arm in observer.races[0]] == [[1, 1, 2], [1, 2, 2]]
    single = train_from_step_4(tmp_path / "single", arms[1], source=trainer, steps=7)
    assert differences(state_without_evaluation(trainer), state_without_evaluation(single)) == []


def test_damaged_start_checkpoint_is_replaced_by_the_previous_one(tmp_path: Path) -> None:
    trainer, observer = train_with_orders(tmp_path, observer=RaceObserver(1), max_steps=5)
    truncate(saved_path(trainer, 4))
    trainer.fit(RunLimits(max_steps=6))
    assert "race from 3" in observer.events
    assert [[r.step for r in arm.steps] for arm in observer.races[0]] == [[4, 5, 6]] * 2
    assert saved_steps(trainer) == [1, 2, 3, 6]


def test_missing_start_checkpoint_is_reported_and_changes_nothing(tmp_path: Path) -> None:
    hparams = tiny_hparams(iters_per_checkpoint=1000, iters_per_evaluation=1000)
    reference, expected = train_with_orders(tmp_path / "reference", hparams=hparams, max_steps=8)
    trainer, observer = train_with_orders(tmp_path / "race", hparams=hparams, observer=RaceObserver(1), max_steps=8)
    assert [report.step for report in observer.rollbacks] == [None] and observer.races == []
    assert observer.losses == expected.losses
    assert differences(comparable_state(trainer), comparable_state(reference)) == []


def test_start_checkpoint_lost_between_the_arms_changes_nothing(tmp_path: Path) -> None:
    class CheckpointDeleter(RaceObserver):
        def on_race_step(self) -> None:
            super().on_race_step()
            assert self.trainer is not None
            if 4 in saved_steps(self.trainer):
                saved_path(self.trainer, 4).unlink()

    reference, expected = train_with_orders(tmp_path / "reference", max_steps=8)
    observer = CheckpointDeleter(1)
    trainer, _ = train_with_orders(tmp_path / "race", observer=observer, max_steps=8)
    assert [report.step for report in observer.rollbacks] == [None] and observer.races == []
    assert observer.losses == expected.losses
    assert differences(comparable_state(trainer), comparable_state(reference)) == []


@pytest.mark.parametrize("at_arm_step", [1, 5])
def test_interrupted_race_is_run_after_a_resume(tmp_path: Path, at_arm_step: int) -> None:
    uninterrupted, expected = run_race(tmp_path / "uninterrupted", 1, steps=9)
    limits = RunLimits()

    class Interrupted(RaceObserver):
        def on_race_step(self) -> None:
            super().on_race_step()
            if self.events.count("arm step") == at_arm_step:
                limits.request_stop("SIGTERM")

    observer = Interrupted(1)
    trainer, _ = trainer_with_orders(tmp_path / "race", observer=observer)
    assert trainer.fit(limits) == "SIGTERM"
    assert observer.events.count("arm step") == at_arm_step and observer.races == []
    assert saved_steps(trainer) == [1, 2, 3, 4, 5, 6] and trainer.state.progress.step == 6
    last = RaceObserver(1, after_step=1000)
    resumed, _ = train_with_orders(tmp_path / "race", observer=last, start=saved_path(trainer, 6), max_steps=9)
    assert len(last.races) == 1 and last.losses == expected.losses[6:]
    assert differences(state_without_evaluation(resumed), state_without_evaluation(uninterrupted)) == []


def test_pending_orders_can_be_dropped(tmp_path: Path) -> None:
    trainer, observer = trainer_with_orders(tmp_path)
    trainer.control.execute(RACE)
    trainer.control.forget_pending()
    trainer.fit(RunLimits(max_steps=2))
    assert observer.races == [] and observer.rollbacks == []


def test_arm_that_runs_out_of_memory_is_reported_and_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FirstArmOutOfMemory(RaceObserver):
        def on_race_step(self) -> None:
            super().on_race_step()
            monkeypatch.undo()

        def on_race(self, report: RaceReport) -> RaceWinner:
            assert [[r.out_of_memory_steps for r in arm.steps] for arm in report.arms] == [[1, 1, 1], [0, 0, 0]]
            return super().on_race(report)

    trainer, observer = train_with_orders(
        tmp_path, observer=FirstArmOutOfMemory(1), hparams=tiny_hparams(**ALL_SAVED), max_steps=5
    )
    limit_memory(trainer, 1, monkeypatch)
    trainer.control.execute(RACE)
    trainer.fit(RunLimits(max_steps=8))
    assert len(observer.races) == 1 and observer.steps[-1].out_of_memory_steps == 0


def test_arms_may_use_other_random_seeds(tmp_path: Path) -> None:
    same, fork = {"guide_sigma": 0.3}, {"guide_sigma": 0.8}
    order = replace(RACE, arms=(same, same, fork, same, same), seeds=(0, 1, 0, 0, 1))
    trainer, observer = run_race(tmp_path, 2, order)
    (arms,) = observer.races
    losses = [[report.loss_parts["mel_loss"] for report in arm.steps] for arm in arms]
    assert losses[3] == losses[0] != losses[1] == losses[4]
    assert losses[2][0] == losses[0][0]
    assert [[r.utterance_ids for r in arm.steps] for arm in arms] == [[r.utterance_ids for r in arms[0].steps]] * 5
    assert trainer.state.knobs.guide_sigma == 0.8
    single = train_from_step_4(tmp_path / "single", fork, source=trainer, steps=7)
    assert not differences(state_without_evaluation(trainer), state_without_evaluation(single))
