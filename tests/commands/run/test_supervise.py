"""Supervised trainings from the command line: interventions, journal, replay."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import train_enhanced
from models.checkpoint_file import load_checkpoint
from smart_tuner import replay
from smart_tuner.settings import load_settings
from tests.support.program import UNWATCHED, Program, journal, losses, newest, summary, tiny

DECISIONS = ("diagnosis", "intervention", "follow_up")
SICK: dict[str, Any] = {
    **{"learning_rate": 30.0, "epochs": 20, "batch_size": 2, "evaluation_samples": 0},
    **{"iters_per_evaluation": 10, "iters_per_checkpoint": 10},
}


def decisions(run: Path) -> list[dict[str, Any]]:
    return [record for record in journal(run) if record["kind"] in DECISIONS]


@pytest.fixture(scope="module")
def sick_original(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a learning rate far too high."""
    output = tmp_path_factory.mktemp("sick")
    train_enhanced.main(["--data", str(data), "--output", str(output), "--run_name", "run", *UNWATCHED, *tiny(**SICK)])
    return output / "run"


@pytest.fixture
def sick(sick_original: Path, tmp_path: Path) -> Path:
    """A copy of the run with the high learning rate."""
    return Path(shutil.copytree(sick_original, tmp_path / "sick"))


def test_a_healthy_training_is_left_alone_bit_by_bit(program: Program, data: Path) -> None:
    watched = program.trained(data, run="watched")
    free = program.trained(data, "--supervise", "off", run="free")
    assert losses(watched) == losses(free)
    assert decisions(watched) == []
    assert "supervision" in journal(watched)[0] and "supervision" not in journal(free)[0]
    assert {record["phase"] for record in journal(watched)} == {"pre_alignment"}
    assert {record["phase"] for record in journal(free)} == {None}


def test_a_sick_training_is_diagnosed_treated_and_followed_up(sick: Path) -> None:
    assert {record["kind"] for record in decisions(sick)} == set(DECISIONS)
    first = next(record for record in decisions(sick) if record["kind"] == "intervention")
    fields = {"time", "step", "phase", "kind", "ailment", "severity", "evidence", "remedy", "expected"}
    assert fields <= first.keys()
    assert first["expected"].keys() >= {"signal", "direction", "by_step", "forecast"}
    assert sum(summary(sick)["interventions"].values()) > 0


def test_a_learning_rate_that_a_resume_made_far_too_high_is_undone_first(program: Program, data: Path) -> None:
    settings: dict[str, Any] = SICK | {"learning_rate": 0.1, "epochs": 40, "warmup_steps": 1}
    run = program.trained(data, "--max_steps", "40", "--supervise", "off", *tiny(**settings), run="raised")
    program.trained(
        data, "--resume", "auto", "--max_steps", "100", *tiny(**settings | {"learning_rate": 20.0}), run="raised"
    )
    first = next(record for record in journal(run) if record["kind"] == "intervention")
    assert first["remedy"] == "undo_changed_settings" and first["to_step"] == 40
    assert first["knobs"] == {"learning_rate_multiplier": pytest.approx(1 / 200)}
    assert replay.main([str(run)]) == 0


def test_replay_recomputes_the_same_decisions(sick: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay.main([str(sick)]) == 0
    assert f"{len(replay.replay(sick).recorded)} decisions recomputed: the same" in capsys.readouterr().out


@pytest.mark.parametrize("field", ["remedy", "step"])
def test_replay_finds_a_falsified_decision(sick: Path, capsys: pytest.CaptureFixture[str], field: str) -> None:
    path = sick / "journal.jsonl"
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    false = next(record for record in records if record["kind"] == "intervention" and "remedy" in record)
    false[field] = "prayer" if field == "remedy" else false[field] + 1
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    assert replay.main([str(sick)]) == 1
    assert "differs" in capsys.readouterr().out


def test_replay_shows_what_another_policy_would_have_done(
    sick: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "other.yaml"
    config.write_text("supervision: {intervention_budget: 0}\n", encoding="utf-8")
    assert replay.main([str(sick), "--config", str(config)]) == 0
    output = capsys.readouterr().out
    assert "diagnosis" in output and "differ from the recorded" in output and "nowhere" not in output
    steering = [d for d in replay.replay(sick, load_settings(config)).recomputed if d["kind"] == "intervention"]
    assert all(decision["remedy"] in ("stop", "rerun_step") for decision in steering)


def test_replay_refuses_a_run_without_supervisor(
    program: Program, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    free = program.trained(data, "--supervise", "off", run="free")
    capsys.readouterr()
    assert replay.main([str(free)]) == 2 and "was not supervised" in capsys.readouterr().err
    assert replay.main([str(free / "nowhere")]) == 2 and "no such journal" in capsys.readouterr().err


def test_advice_changes_nothing(program: Program, data: Path) -> None:
    program.train(data, "--supervise", "advise", run="advised", **SICK)
    program.train(data, "--supervise", "off", run="free", **SICK)
    advised, free = program.output / "advised", program.output / "free"
    assert losses(advised) == losses(free)
    interventions = [r for r in decisions(advised) if r["kind"] == "intervention"]
    assert interventions and all(record["advice"] for record in interventions)
    assert replay.main([str(advised)]) == 0


def test_pinned_knobs_are_not_turned(program: Program, data: Path) -> None:
    program.train(data, "--pin", "learning_rate_multiplier", run="pinned", **SICK)
    moved = [r for r in journal(program.output / "pinned", "intervention")]
    assert moved
    assert all(record.get("knob") != "learning_rate_multiplier" for record in moved)
    assert all("learning_rate_multiplier" not in record.get("knobs", {}) for record in moved)


def test_an_interrupted_run_replays_too(program: Program, data: Path) -> None:
    program.train(data, "--max_steps", 35, run="paused", **SICK)
    program.train(data, run="paused", **SICK)
    assert [record["kind"] for record in journal(program.output / "paused")].count("resumed") == 1
    assert replay.main([str(program.output / "paused")]) == 0


def test_a_resumed_run_knows_the_steps_left_since_its_restart(program: Program, data: Path, tmp_path: Path) -> None:
    program.train(data, "--max_steps", 35, run="paused", **SICK)
    origin = load_checkpoint(newest(program.output / "paused"))["clock"]["origin_step"]
    assert origin > 0
    config = tmp_path / "every_step.yaml"
    config.write_text("progress_every_seconds: 1.0e-9\n", encoding="utf-8")
    output = program.train(data, "--config", config, run="paused", **SICK).out
    assert f"step 36/{origin + 80} " in output


def test_a_branched_run_is_supervised_from_its_own_journal_alone(program: Program, data: Path) -> None:
    program.train(data, "--max_steps", 35, run="trunk", **SICK)
    assert decisions(program.output / "trunk")
    program.train(data, "--resume", program.output / "trunk", run="branch", **SICK)
    branch = program.output / "branch"
    assert journal(branch)[0]["kind"] == "resumed" and journal(branch, "steps")[0]["steps"][0] > 1
    assert replay.main([str(branch)]) == 0


def test_a_journal_that_cannot_be_written_stops_before_training(program: Program, data: Path) -> None:
    (program.output / "run" / "journal.jsonl").mkdir(parents=True)
    program.train(data).refused(r"journal\.jsonl: cannot be written \(Is a directory\)")
    assert not (program.output / "run" / "checkpoints").exists()


def test_a_hopeless_run_ends_with_3_and_says_what_to_change(program: Program, data: Path, tmp_path: Path) -> None:
    config = tmp_path / "helpless.yaml"
    config.write_text("supervision: {intervention_budget: 0}\n", encoding="utf-8")
    outcome = program.train(data, "--config", config, **SICK)
    assert outcome.code == 3
    assert "hopeless: learning_rate_too_high persists" in outcome.flat
    assert "give a smaller --learning_rate" in outcome.flat
    run = program.output / "run"
    assert summary(run)["status"] == "stopped" and summary(run)["reason"].startswith("hopeless: ")
    assert journal(run)[-1]["kind"] == "finished"
    assert (run / "checkpoints").exists()
