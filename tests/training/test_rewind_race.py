"""Two ways of going on from one checkpoint, tried against each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reports import RaceReport, TrainerOrder
from tests.tiny import tiny_hparams
from tests.training.steered import (
    ALL_SAVED,
    SteeringObserver,
    differences,
    resume,
    ruin,
    saved_path,
    saved_steps,
    state_of,
    steered,
)
from tests.training.step.test_out_of_memory import limit_memory
from training.run_state import RunLimits
from training.trainer import EnhancedTrainer

ARMS: tuple[dict[str, float], ...] = ({"guide_sigma": 0.3}, {"guide_sigma": 0.8})
RACE = TrainerOrder("race", step=4, arms=ARMS, n_steps=3)


class Judge(SteeringObserver):
    """Prefers the arm it was made with."""

    def __init__(self, winner: int, order: TrainerOrder = RACE, *, after_step: int = 6) -> None:
        super().__init__({after_step: [order]})
        self.winner = winner


def raced(folder: Path, winner: int, order: TrainerOrder = RACE, *, steps: int = 7) -> tuple[EnhancedTrainer, Judge]:
    judge = Judge(winner, order)
    trainer, _ = steered(folder, observer=judge)
    trainer.fit(RunLimits(max_steps=steps))
    return trainer, judge


def trained_so(folder: Path, knobs: dict[str, float], *, source: EnhancedTrainer, steps: int) -> EnhancedTrainer:
    """From the checkpoint of step 4, with these knobs."""
    trainer, _ = steered(folder)
    resume(trainer, saved_path(source, 4))
    trainer.state.turn_knobs(knobs)
    trainer.fit(RunLimits(max_steps=steps))
    return trainer


def learnt(trainer: EnhancedTrainer) -> dict[str, Any]:
    state = state_of(trainer)
    del state["progress"]["evaluated_step"]
    return state


def test_both_arms_start_alike_and_see_the_same_data_with_their_own_knobs(tmp_path: Path) -> None:
    _, judge = raced(tmp_path, 0)
    (arms,) = judge.races
    assert [arm.knobs for arm in arms] == list(ARMS)
    assert [[r.step for r in arm.steps] for arm in arms] == [[5, 6, 7]] * 2
    ids = [[r.utterance_ids for r in arm.steps] for arm in arms]
    assert ids[0] == ids[1] and ids[0][:2] == judge.ids[4:6]
    first, second = (arm.steps[0].loss_parts for arm in arms)
    assert first["mel_loss"] == second["mel_loss"] == judge.steps[4].loss_parts["mel_loss"]
    assert first["guide_loss"] != second["guide_loss"]
    assert [arm.evaluation.step for arm in arms] == [7, 7]
    assert arms[0].evaluation.losses["val_mel_loss"] != arms[1].evaluation.losses["val_mel_loss"]


@pytest.mark.parametrize("winner", [0, 1])
def test_training_goes_on_exactly_as_if_the_winner_had_been_all_there_was(tmp_path: Path, winner: int) -> None:
    trainer, judge = raced(tmp_path / "race", winner, steps=10)
    raced_to = state_of(trainer)
    alone = trained_so(tmp_path / "alone", ARMS[winner], source=trainer, steps=10)
    assert trainer.state.knobs.guide_sigma == ARMS[winner]["guide_sigma"]
    assert differences(raced_to, state_of(alone)) == []
    assert [r.step for r in judge.steps] == [1, 2, 3, 4, 5, 6, 8, 9, 10]


def test_the_loser_leaves_nothing_behind(tmp_path: Path) -> None:
    trainer, judge = raced(tmp_path, 0)
    assert saved_steps(trainer) == [1, 2, 3, 4, 7]
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoints"}
    assert trainer.state.data.train.skipped_batches == set()
    first = judge.events.index("arm step")
    assert judge.events[first : first + 11] == [
        *(*["arm step"] * 3, "before evaluation", *["arm step"] * 3, "before evaluation"),
        *("race from 4", "before checkpoint", "after checkpoint"),
    ]
    assert {id_ for _, id_, _ in state_of(trainer)["steering"]["places"]} == {0, 1, 2}
    assert [step for step, _, _ in state_of(trainer)["steering"]["places"]] == [1, 2, 3, 4, 5, 6, 7]


def test_arms_go_on_beyond_the_end_of_an_epoch(tmp_path: Path) -> None:
    trainer, judge = raced(tmp_path, 1, TrainerOrder("race", step=4, arms=ARMS, n_steps=6), steps=10)
    assert [r.epoch for r in judge.races[0][1].steps] == [1, 1, 2, 2, 2, 3]
    assert (trainer.state.progress.step, trainer.state.progress.epoch, trainer.state.progress.batch) == (10, 3, 1)


def test_how_many_batches_make_an_update_can_be_raced(tmp_path: Path) -> None:
    arms: tuple[dict[str, float], ...] = ({}, {"batches_per_update": 2.0})
    trainer, judge = raced(tmp_path / "race", 1, TrainerOrder("race", step=4, arms=arms, n_steps=3))
    assert [[r.epoch for r in arm.steps] for arm in judge.races[0]] == [[1, 1, 2], [1, 2, 2]]
    alone = trained_so(tmp_path / "alone", arms[1], source=trainer, steps=7)
    assert differences(learnt(trainer), learnt(alone)) == []


def test_a_ruined_start_is_replaced_by_the_one_before(tmp_path: Path) -> None:
    trainer, judge = steered(tmp_path, observer=Judge(1))
    trainer.fit(RunLimits(max_steps=5))
    ruin(saved_path(trainer, 4))
    trainer.fit(RunLimits(max_steps=6))
    assert "race from 3" in judge.events
    assert [[r.step for r in arm.steps] for arm in judge.races[0]] == [[4, 5, 6]] * 2
    assert saved_steps(trainer) == [1, 2, 3, 6]


def test_without_a_usable_start_nothing_is_changed_and_the_watcher_is_told(tmp_path: Path) -> None:
    hparams = tiny_hparams(iters_per_checkpoint=1000, iters_per_evaluation=1000)
    plain, watched = steered(tmp_path / "plain", hparams=hparams)
    plain.fit(RunLimits(max_steps=8))
    trainer, judge = steered(tmp_path / "race", hparams=hparams, observer=Judge(1))
    trainer.fit(RunLimits(max_steps=8))
    assert [report.step for report in judge.rollbacks] == [None] and judge.races == []
    assert judge.losses == watched.losses
    assert differences(state_of(trainer), state_of(plain)) == []


def test_a_start_that_is_lost_between_the_arms_changes_nothing(tmp_path: Path) -> None:
    class Losing(Judge):
        def on_race_step(self) -> None:
            super().on_race_step()
            assert self.trainer is not None
            if 4 in saved_steps(self.trainer):
                saved_path(self.trainer, 4).unlink()

    plain, watched = steered(tmp_path / "plain")
    plain.fit(RunLimits(max_steps=8))
    judge = Losing(1)
    trainer, _ = steered(tmp_path / "race", observer=judge)
    trainer.fit(RunLimits(max_steps=8))
    assert [report.step for report in judge.rollbacks] == [None] and judge.races == []
    assert judge.losses == watched.losses
    assert differences(state_of(trainer), state_of(plain)) == []


@pytest.mark.parametrize("at_arm_step", [1, 5])
def test_an_interrupted_race_is_run_when_training_is_resumed(tmp_path: Path, at_arm_step: int) -> None:
    whole, watched = raced(tmp_path / "whole", 1, steps=9)
    limits = RunLimits()

    class Interrupted(Judge):
        def on_race_step(self) -> None:
            super().on_race_step()
            if self.events.count("arm step") == at_arm_step:
                limits.stop = "SIGTERM"

    judge = Interrupted(1)
    trainer, _ = steered(tmp_path / "race", observer=judge)
    assert trainer.fit(limits) == "SIGTERM"
    assert judge.events.count("arm step") == at_arm_step and judge.races == []
    assert saved_steps(trainer) == [1, 2, 3, 4, 5, 6] and trainer.state.progress.step == 6
    again = Judge(1, after_step=1000)
    resumed, _ = steered(tmp_path / "race", observer=again)
    resume(resumed, saved_path(trainer, 6))
    resumed.fit(RunLimits(max_steps=9))
    assert len(again.races) == 1 and again.losses == watched.losses[6:]
    assert differences(learnt(resumed), learnt(whole)) == []


def test_moves_nobody_waits_for_are_forgotten(tmp_path: Path) -> None:
    trainer, judge = steered(tmp_path)
    trainer.control.execute(RACE)
    trainer.control.forget_pending()
    trainer.fit(RunLimits(max_steps=2))
    assert judge.races == [] and judge.rollbacks == []


def test_an_arm_that_does_not_fit_into_memory_says_so_and_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tight(Judge):
        def on_race_step(self) -> None:
            super().on_race_step()
            monkeypatch.undo()

        def on_race(self, report: RaceReport) -> int:
            assert [[r.out_of_memory_steps for r in arm.steps] for arm in report.arms] == [[1, 1, 1], [0, 0, 0]]
            return super().on_race(report)

    trainer, judge = steered(tmp_path, observer=Tight(1), hparams=tiny_hparams(**ALL_SAVED))
    trainer.fit(RunLimits(max_steps=5))
    limit_memory(trainer, 1, monkeypatch)
    trainer.control.execute(RACE)
    trainer.fit(RunLimits(max_steps=8))
    assert len(judge.races) == 1 and judge.steps[-1].out_of_memory_steps == 0


def test_of_several_arms_one_may_draw_other_random_numbers(tmp_path: Path) -> None:
    same, fork = {"guide_sigma": 0.3}, {"guide_sigma": 0.8}
    order = TrainerOrder("race", step=4, arms=(same, same, fork, same), n_steps=3, reseeded_arm=1)
    trainer, judge = raced(tmp_path, 2, order)
    (arms,) = judge.races
    losses = [[report.loss_parts["mel_loss"] for report in arm.steps] for arm in arms]
    assert losses[3] == losses[0] != losses[1]
    assert losses[2][0] == losses[0][0]
    assert [[r.utterance_ids for r in arm.steps] for arm in arms] == [[r.utterance_ids for r in arms[0].steps]] * 4
    assert trainer.state.knobs.guide_sigma == 0.8
    alone = trained_so(tmp_path / "alone", fork, source=trainer, steps=7)
    assert not differences(learnt(trainer), learnt(alone))
