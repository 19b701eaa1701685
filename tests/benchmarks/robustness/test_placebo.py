"""Benchmark of imagined interventions: it keeps what it needs of a healthy journal, and refuses treated ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.reporting import wilson_interval
from benchmarks.robustness.placebo import (
    JournalSummary,
    imagined_verdicts,
    print_table,
    summarize_run,
)
from tests.smart_tuner.histories import falling
from tests.smart_tuner.simulated_runs import FACTS

PLAN = FACTS.model_copy(update={"planned_steps": 2000})


def write_run(folder: Path, losses: list[float], *others: dict[str, Any]) -> Path:
    """Journal of a run with these held-out losses."""
    start = {
        **{"kind": "started", "step": 0, "hparams": {"model": "tacotron2"}, "weights": 1_700_000},
        "supervision": {"facts": PLAN.model_dump(mode="json")},
    }
    evaluations = [
        {"kind": "evaluation", "step": 20 * i, "signals": {"val_mel_loss": loss, "gate_accuracy": 1.0}}
        for i, loss in enumerate(losses, 1)
    ]
    folder.mkdir()
    lines = (json.dumps({"schema_version": 1, **record}) for record in (start, *evaluations, *others))
    (folder / "journal.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


def summary_of(run: Path) -> JournalSummary:
    return JournalSummary.from_json(json.loads(json.dumps(summarize_run(run))))


def test_held_out_signals_and_facts_of_a_healthy_run_are_kept(tmp_path: Path) -> None:
    summary = summary_of(write_run(tmp_path / "run", [2.0, 1.5]))
    assert summary.evaluations == [(20, {"val_mel_loss": 2.0}), (40, {"val_mel_loss": 1.5})]
    assert summary.size == "tacotron2 1.7 M" and summary.facts == PLAN


def test_a_run_with_an_intervention_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [2.0], {"kind": "intervention", "step": 20})
    with pytest.raises(SystemExit, match="found 1 intervention"):
        summarize_run(run)


def test_a_smoothly_falling_loss_is_never_said_to_be_helped(tmp_path: Path) -> None:
    summary = summary_of(write_run(tmp_path / "run", falling(4.0, 1.0, 60, 0.02)))
    verdicts = list(imagined_verdicts(summary))
    assert len(verdicts) > 40 and verdicts.count("helped") <= 0.1 * len(verdicts)


def test_a_sudden_fall_that_nothing_explains_would_be_found(tmp_path: Path) -> None:
    losses = falling(2.2, 2.0, 60, 0.01)
    summary = summary_of(write_run(tmp_path / "run", [*losses[:40], *(0.6 * loss for loss in losses[40:])]))
    assert "helped" in set(imagined_verdicts(summary))


def test_the_table_needs_enough_journals_of_several_sizes(tmp_path: Path) -> None:
    summary = summary_of(write_run(tmp_path / "run", falling(4.0, 1.0, 60, 0.0)))
    lines: list[str] = []
    assert not print_table([summary] * 30, lines.append)
    sizes = [JournalSummary(summary.name, str(i % 3), summary.facts, summary.evaluations) for i in range(30)]
    assert print_table(sizes, lines.append)
    assert any(line.startswith("all") for line in lines)


def test_the_interval_of_a_share_contains_it_and_narrows() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)
    low, high = wilson_interval(5, 100)
    assert 0.01 < low < 0.05 < high < 0.12
    assert wilson_interval(500, 10_000)[1] - wilson_interval(500, 10_000)[0] < high - low
