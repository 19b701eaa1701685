"""A damaged or foreign checkpoint is refused in one line, or skipped where an earlier one is usable."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.checkpoint_file import load_checkpoint
from tests.support.program import Program, journal, losses, newest


class _CodeOnUnpickling:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return Path.touch, (Path("code-has-run"),)  # type: ignore[return-value]


def _write_checkpoint(kind: str, good: Path, path: Path) -> None:
    match kind:
        case "truncated":
            path.write_bytes(good.read_bytes()[:-5_000])
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_bytes(b"no checkpoint at all")
        case "code":
            torch.save({"state_dict": _CodeOnUnpickling()}, path)
        case "bare_code":
            path.write_bytes(pickle.dumps(_CodeOnUnpickling()))
        case "other_dictionary":
            torch.save({"weights": torch.zeros(3)}, path)
        case "list":
            torch.save([torch.zeros(3)], path)
        case "foreign_of_another_model":
            torch.save({"state_dict": {"encoder.weight": torch.zeros(3)}, "iteration": 3}, path)
        case "not_a_number":
            weights = load_checkpoint(good)["model"]
            weights["embedding.weight"][0, 0] = float("nan")
            torch.save({"state_dict": weights, "iteration": 3}, path)
        case "own_not_a_number":
            state = load_checkpoint(good)
            state["model"]["embedding.weight"][0, 0] = float("nan")
            torch.save(state, path)
        case "lost_weight":
            state = load_checkpoint(good)
            state["model"].pop("embedding.weight")
            torch.save(state, path)


BAD_CHECKPOINTS = {
    "truncated": "not a readable checkpoint",
    "empty": "not a readable checkpoint",
    "text": "not a readable checkpoint",
    "code": "not a readable checkpoint",
    "bare_code": "not a readable checkpoint",
    "other_dictionary": "holds no",
    "list": "expected a dictionary",
    "foreign_of_another_model": "another model",
    "not_a_number": r"weights with NaN or infinity \(embedding.weight\)",
    "own_not_a_number": r"weights with NaN or infinity \(embedding.weight\)",
    "lost_weight": "another model",
}


@pytest.mark.parametrize("kind", BAD_CHECKPOINTS)
def test_an_unusable_checkpoint_is_refused(
    program: Program, data: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _write_checkpoint(kind, newest(run), tmp_path / "given.pt")
    program.train(data, "--resume", tmp_path / "given.pt", run="other").refused(BAD_CHECKPOINTS[kind])
    assert not (program.output / "other").exists()
    voice = program("--mode", "validate", "--resume", tmp_path / "given.pt", "--data", data)
    assert voice.code == 2 and len(voice.err.splitlines()) == 1
    if "not_a_number" in kind:
        program.train(data, "--warm_start", tmp_path / "given.pt", run="other").refused(BAD_CHECKPOINTS[kind])
    assert not (tmp_path / "code-has-run").exists()


@pytest.mark.parametrize("hparams", [None, [1], "x"])
def test_a_warm_start_ignores_other_entries_of_the_file(
    program: Program, data: Path, run: Path, tmp_path: Path, hparams: object
) -> None:
    torch.save({"state_dict": load_checkpoint(newest(run))["model"], "hparams": hparams}, tmp_path / "given.pt")
    outcome = program.train(data, "--warm_start", tmp_path / "given.pt", "--max_steps", 1, run="other")
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize("part", ["optimizer", "random", "knobs", "data_fingerprint"])
def test_a_checkpoint_without_an_entry_can_be_validated_but_not_resumed(
    program: Program, data: Path, run: Path, tmp_path: Path, part: str
) -> None:
    state = load_checkpoint(newest(run))
    del state[part]
    torch.save(state, tmp_path / "given.pt")
    program.train(data, "--resume", tmp_path / "given.pt", run="other").refused(f"holds no {part}")
    assert not (program.output / "other").exists()
    assert program("--mode", "validate", "--resume", tmp_path / "given.pt", "--data", data).code == 0


def test_a_checkpoint_of_another_format_is_refused(program: Program, data: Path, run: Path, tmp_path: Path) -> None:
    torch.save(load_checkpoint(newest(run)) | {"schema_version": 99}, tmp_path / "given.pt")
    program.train(data, "--resume", tmp_path / "given.pt", run="other").refused("format 99")


def test_a_refusal_does_not_delete_the_given_folder(program: Program, data: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    program("--data", data, "--preset", "demo", "--resume", tmp_path / "mine").refused("no usable checkpoint")
    assert (tmp_path / "mine").is_dir()


@pytest.mark.parametrize("resume", ["auto", "run"])
def test_a_damaged_newest_checkpoint_is_skipped_for_the_one_before(
    program: Program, data: Path, run: Path, resume: str
) -> None:
    program.trained(data, epochs=4)
    before = losses(run)
    damaged = newest(run)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    program.trained(data, "--resume", run if resume == "run" else "auto", epochs=4)
    assert journal(run, "resumed")[-1]["step"] == 4
    assert losses(run) == before


def test_a_run_whose_checkpoints_are_all_damaged_is_refused(program: Program, data: Path, run: Path) -> None:
    for path in (run / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    program.train(data).refused("checksum")
