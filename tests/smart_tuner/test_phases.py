from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from smart_tuner.inputs.run_view import RunView
from smart_tuner.phases import PhaseChange, next_phase
from smart_tuner.settings import Phases, PhaseTargets
from tests.smart_tuner.histories import FLOW, HEALTHY, Values, every, make_facts, make_view, simulate

PHASES = Phases()


def view_with(phase: str, diagonality: Sequence[float | None], **changes: Any) -> RunView:
    return make_view({"free_diagonality": every(100, diagonality)}, phase=phase, **changes)


def phase_after(view: RunView, phases: Phases = PHASES) -> str | None:
    change = next_phase(view, phases)
    return None if change is None else change.phase


@pytest.mark.parametrize(("diagonality", "phase"), [(0.29, None), (0.3, "alignment")])
def test_alignment_begins_at_the_threshold(diagonality: float, phase: str | None) -> None:
    assert phase_after(view_with("pre_alignment", [0.9, diagonality])) == phase


@pytest.mark.parametrize(("diagonality", "phase"), [(0.14, None), (0.15, "alignment")])
def test_an_alignment_that_is_found_by_search_begins_at_its_own_threshold(diagonality: float, phase: str) -> None:
    facts = make_facts(**FLOW)
    assert phase_after(view_with("pre_alignment", [0.9, diagonality], facts=facts)) == phase
    assert phase_after(view_with("alignment", [0.26, 0.25], facts=facts)) == "quality"


def test_the_evidence_contains_the_values() -> None:
    change = next_phase(view_with("pre_alignment", [0.1, 0.4]), PHASES)
    assert change == PhaseChange("alignment", {"free_diagonality": 0.4})
    change = next_phase(view_with("alignment", [0.75, 0.8]), PHASES)
    assert change == PhaseChange("quality", {"free_diagonality": 0.8, "before": 0.75})


def test_alignment_is_stable_after_two_evaluations_in_a_row() -> None:
    assert phase_after(view_with("alignment", [0.9])) is None
    assert phase_after(view_with("alignment", [0.69, 0.9])) is None
    assert phase_after(view_with("alignment", [0.9, 0.69])) is None
    assert phase_after(view_with("alignment", [0.7, 0.7])) == "quality"


@pytest.mark.parametrize("phase", ["alignment", "quality", "fine_tuning"])
def test_lost_alignment_leads_back_to_the_first_phase(phase: str) -> None:
    change = next_phase(view_with(phase, [0.9, 0.9, 0.2]), PHASES)
    assert change == PhaseChange("pre_alignment", {"free_diagonality": 0.2})
    assert phase_after(view_with(phase, [0.9, 0.2, 0.3])) is None


def test_phases_advance_one_at_a_time() -> None:
    assert phase_after(view_with("pre_alignment", [0.9, 0.9, 0.9])) == "alignment"


TARGETS_REACHED: dict[str, Values] = {
    "free_diagonality": every(100, [0.9] * 6),
    "gate_accuracy": every(100, [0.8] * 6),
    "val_total_loss": every(100, [3.0, 2.0, 1.0, 1.0, 0.995, 1.0]),
}


def test_quality_ends_when_speech_ends_correctly_and_the_loss_no_longer_falls() -> None:
    change = next_phase(make_view(TARGETS_REACHED, phase="quality"), PHASES)
    assert change is not None and change.phase == "fine_tuning"
    assert change.evidence == {"gate_accuracy": 0.8, "val_total_loss": 1.0, "gain": pytest.approx(0.005, rel=0.01)}


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
@pytest.mark.parametrize(("last", "phase"), [(0.989, None), (0.991, "fine_tuning"), (1.04, "fine_tuning"), (1.2, None)])
def test_quality_goes_on_while_a_loss_of_any_size_falls(last: float, phase: str | None, scale: float) -> None:
    losses = every(100, [scale * loss for loss in (3.0, 2.0, 1.0, last, last, last)])
    assert phase_after(make_view(TARGETS_REACHED | {"val_total_loss": losses}, phase="quality")) == phase


@pytest.mark.parametrize(("planned_steps", "phase"), [(3000, "fine_tuning"), (3001, None)])
def test_the_loss_must_stand_still_for_a_tenth_of_the_plan(planned_steps: int, phase: str | None) -> None:
    """A plan of more than 3,000 steps needs four evaluations, and the loss has fallen since the one before."""
    assert phase_after(make_view(TARGETS_REACHED, make_facts(planned_steps=planned_steps), phase="quality")) == phase
    still_longer = {"val_total_loss": every(100, [3.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0])}
    facts = make_facts(planned_steps=planned_steps)
    assert phase_after(make_view(TARGETS_REACHED | still_longer, facts, phase="quality")) == "fine_tuning"


@pytest.mark.parametrize("last", [0.98, 1.0])
def test_phases_of_a_run_ten_times_as_long_are_the_same(last: float) -> None:
    losses = [3.0, 2.0, 1.0, 1.0, 1.0, 1.0, last]
    phases = []
    for n_steps in (100, 1000):
        facts = make_facts(steps_per_evaluation=n_steps, steps_per_epoch=n_steps // 2, planned_steps=40 * n_steps)
        series = {"val_total_loss": every(n_steps, losses), "gate_accuracy": every(n_steps, [0.8] * 7)}
        phases.append(phase_after(make_view(series, facts, phase="quality")))
    assert phases == ([None] * 2 if last < 1 else ["fine_tuning"] * 2)


def test_a_model_without_a_gate_is_judged_by_its_length_accuracy() -> None:
    own = {name: values for name, values in TARGETS_REACHED.items() if name != "gate_accuracy"}
    change = next_phase(make_view(own | {"length_accuracy": every(100, [0.8] * 6)}, phase="quality"), PHASES)
    assert change is not None and change.evidence["length_accuracy"] == 0.8
    short = own | {"length_accuracy": every(100, [0.8] * 5 + [0.79])}
    assert phase_after(make_view(short, phase="quality")) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"gate_accuracy": every(100, [0.9] * 5 + [0.79])},
        {"val_total_loss": every(100, [3.0, 2.0, 1.0, 0.98, 0.97, 0.98])},
        {"val_total_loss": every(100, [1.0] * 3)},
        {"gate_accuracy": every(100, [None] * 6)},
    ],
)
def test_quality_goes_on_while_speech_does_not_end_or_the_loss_falls(changes: dict[str, Any]) -> None:
    assert phase_after(make_view(TARGETS_REACHED | changes, phase="quality", step=600)) is None


def test_quality_goes_on_while_a_log_likelihood_grows() -> None:
    growing, still = every(100, [0.0, -1.0, -1.2, -1.3, -1.4, -1.5]), every(100, [0.0, -1.0, -1.5, -1.5, -1.5, -1.5])
    zeros, flow = every(100, [0.0] * 6), make_facts(**FLOW)
    assert phase_after(make_view(TARGETS_REACHED | {"val_total_loss": growing}, flow, phase="quality")) is None
    assert phase_after(make_view(TARGETS_REACHED | {"val_total_loss": still}, flow, phase="quality")) == "fine_tuning"
    assert phase_after(make_view(TARGETS_REACHED | {"val_total_loss": zeros}, flow, phase="quality")) == "fine_tuning"
    not_declared = make_view(TARGETS_REACHED | {"val_total_loss": still}, phase="quality")
    assert phase_after(not_declared) is None


def test_a_validation_loss_that_exploded_is_no_reason_to_go_on() -> None:
    exploded = TARGETS_REACHED | {"val_total_loss": every(100, [0.0, 0.0, 0.0, 1e6, 1e6, 1e6])}
    assert next_phase(make_view(exploded, make_facts(**FLOW), phase="quality"), PHASES) is None


@pytest.mark.parametrize(
    ("phase", "epochs", "following"),
    [("pre_alignment", 500, "alignment"), ("alignment", 2000, "quality"), ("quality", 3000, "fine_tuning")],
)
def test_a_phase_ends_at_its_latest_epoch(phase: str, epochs: int, following: str) -> None:
    short = make_view({}, phase=phase, step=50 * epochs - 1)
    assert phase_after(short) is None
    change = next_phase(make_view({}, phase=phase, step=50 * epochs), PHASES)
    assert change == PhaseChange(following, {"epoch": float(epochs), "latest_epoch": float(epochs)})
    assert phase_after(make_view({}, phase=phase, step=50 * epochs, attempt_start=50)) is None


def test_a_phase_without_a_latest_epoch_has_no_end() -> None:
    endless = Phases(pre_alignment=PhaseTargets())
    assert phase_after(view_with("pre_alignment", [0.1], step=10**6), endless) is None
    assert phase_after(view_with("quality", [0.1], step=10**6), endless) == "pre_alignment"


def test_no_phase_is_entered_again_after_its_latest_epoch() -> None:
    assert phase_after(view_with("alignment", [0.1] * 3, step=50 * 500)) is None
    assert phase_after(view_with("alignment", [0.1] * 3, step=50 * 500 - 1)) == "pre_alignment"


def test_the_last_phase_has_no_end() -> None:
    assert phase_after(make_view(TARGETS_REACHED, phase="fine_tuning", step=10**6)) is None


def test_a_phase_goes_on_without_measurements() -> None:
    for phase in ("pre_alignment", "alignment", "quality", "fine_tuning"):
        assert phase_after(view_with(phase, [None, None])) is None


@pytest.mark.parametrize("kind", ["demo", "float16"])
def test_a_healthy_run_passes_its_phases_in_order(kind: str) -> None:
    phases = [view.phase for _, view in simulate(HEALTHY[kind], seed=5)]
    assert list(dict.fromkeys(phases)) == ["pre_alignment", "alignment", "quality", "fine_tuning"]
    assert phases == sorted(phases, key=list(Phases.model_fields).index)
