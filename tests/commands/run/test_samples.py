"""Sentences that are spoken at each evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.program import Program, journal


def spoken(run: Path) -> list[str]:
    (evaluation, *_) = (r for r in journal(run) if r["kind"] == "evaluation")
    return [sample["sentence"] for sample in evaluation.get("samples", []) if not sample["recorded"]]


@pytest.mark.parametrize(("n_samples", "n_sentences"), [(0, 0), (2, 2), (9, 4)])
def test_with_recordings_ordinary_sentences_are_spoken(
    program: Program, data: Path, n_samples: int, n_sentences: int
) -> None:
    run = program.trained(data, "--max_steps", 1, evaluation_samples=n_samples)
    assert len(spoken(run)) == n_sentences
    assert all(sentence.endswith((".", "?")) for sentence in spoken(run))


def test_a_persons_own_sentences_are_spoken_instead(program: Program, data: Path, tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("good words\n", encoding="utf-8")
    run = program.trained(data, "--max_steps", 1, "--eval_sentences", tmp_path / "own.txt", evaluation_samples=2)
    assert spoken(run) == ["good words"]
