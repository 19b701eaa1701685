"""quarantine.json in a run's folder, which a person may edit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.program import Program, contents, losses, summary

EVERYONE = {f"good{i}": 3 for i in range(8)}


def held_out(run: Path) -> str:
    return next(path.stem.rpartition("-")[2] for path in (run / "samples").iterdir())


def test_listed_utterances_stay_excluded_when_the_run_is_resumed(program: Program, data: Path, run: Path) -> None:
    """Quarantine leaves one of two batches of an epoch; without it both are there again."""
    remaining = next(id_ for id_ in EVERYONE if id_ != held_out(run))
    quarantined = {id_: step for id_, step in EVERYONE.items() if id_ != remaining}
    (run / "quarantine.json").write_text(json.dumps(quarantined), encoding="utf-8")
    program.trained(data, epochs=4)
    assert max(losses(run)) == summary(run)["step"] == 6
    assert json.loads((run / "quarantine.json").read_text(encoding="utf-8")) == quarantined
    (run / "quarantine.json").unlink()
    program.trained(data, epochs=5)
    assert max(losses(run)) == 8


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        (json.dumps(EVERYONE), "quarantine.json: lists all 7 utterances to train on; remove some of them"),
        ("{", "quarantine.json: is not valid JSON .*; correct or remove it"),
    ],
)
def test_an_unusable_list_is_refused_before_anything_is_written(
    program: Program, data: Path, run: Path, content: str, pattern: str
) -> None:
    (run / "quarantine.json").write_text(content, encoding="utf-8")
    before = contents(run)
    program.train(data, epochs=4).refused(pattern)
    assert contents(run) == before
