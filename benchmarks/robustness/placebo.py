"""Verdicts on interventions that never took place: how often they would be said to have helped.

`python -m benchmarks placebo --runs FOLDER...` reads the journals of healthy runs, keeps what it needs of them in
docs/placebo.jsonl, and judges an intervention imagined at every evaluation of each, as the supervisor judges real ones.
At most a tenth may be said to have helped.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.program import read_records
from benchmarks.reporting import Write, conclude, wilson_interval
from files import REPOSITORY
from monitoring.measures.history import SignalHistory
from smart_tuner.inputs.outliers import OutlierHistory
from smart_tuner.inputs.run_facts import RunFacts
from smart_tuner.inputs.run_view import RunView
from smart_tuner.settings import Settings, SupervisionSettings
from smart_tuner.treatment.follow_up import expect_outcomes, measure_outcomes
from smart_tuner.treatment.interventions import Expectation, InterventionPlan
from smart_tuner.treatment.verdicts.judgement import Verdict, verdict_of_outcomes

RESULTS = REPOSITORY / "docs" / "placebo.jsonl"
MIN_JOURNALS, MIN_SIZES, MAX_HELPED_SHARE = 20, 3, 0.1
HELD_OUT = "val_"
Record = Mapping[str, Any]


@dataclass(frozen=True)
class JournalSummary:
    """Held-out signals of a healthy run, as far as verdicts depend on them."""

    name: str
    size: str  # model and number of its weights
    facts: RunFacts
    evaluations: Sequence[tuple[int, Mapping[str, float | None]]]

    @classmethod
    def from_json(cls, record: Record) -> JournalSummary:
        facts = RunFacts.model_validate(record["facts"])
        return cls(record["name"], record["size"], facts, [(step, signals) for step, signals in record["evaluations"]])


def summarize_run(run: Path) -> dict[str, Any]:
    """Part of a run's journal that is kept; an error if the supervisor intervened."""
    records = read_records(run)
    touched = [record for record in records if record["kind"] == "intervention"]
    if touched:
        raise SystemExit(f"error: {run}: expected a healthy run, found {len(touched)} interventions")
    start = next(record for record in records if "supervision" in record)
    plans = [record["planned_steps"] for record in records if record["kind"] == "plan"]
    facts = start["supervision"]["facts"] | ({"planned_steps": plans[-1]} if plans else {})
    names = {"composite_tts_score", f"{HELD_OUT}{facts['spectrum_loss']}"}
    evaluations = [
        [record["step"], {name: value for name, value in record["signals"].items() if name in names}]
        for record in records
        if record["kind"] == "evaluation"
    ]
    size = f"{start['hparams']['model']} {start['weights'] / 1e6:.1f} M"
    return {"name": "/".join(run.parts[-2:]), "size": size, "facts": facts, "evaluations": evaluations}


def imagined_verdicts(summary: JournalSummary) -> Iterator[Verdict]:
    """Verdicts on an intervention at each evaluation, judged when a real one would be."""
    limits, history = SupervisionSettings(), SignalHistory()
    horizon = limits.follow_up_evaluations * summary.facts.steps_per_evaluation
    waiting: list[tuple[int, int, list[Expectation]]] = []
    for step, signals in summary.evaluations:
        history.record(step, signals)
        view = _view(step, history, summary.facts)
        for start, _, expected in [entry for entry in waiting if entry[1] <= step]:
            yield verdict_of_outcomes(measure_outcomes(expected, view, start=start, treated=()))
        waiting = [entry for entry in waiting if entry[1] > step]
        mechanism = Expectation("total_loss", "down", step + horizon, None, 0.0)
        judged_by, expected = expect_outcomes(InterventionPlan(mechanism), view, limits)
        if judged_by > mechanism.by_step:
            waiting.append((step, judged_by, expected))


def _view(step: int, history: SignalHistory, facts: RunFacts) -> RunView:
    return RunView(
        step=step,
        attempt_start=0,
        history=history,
        outliers=OutlierHistory(),
        facts=facts,
        quality=Settings().quality_control,
        phase="quality",
    )


def print_table(summaries: Sequence[JournalSummary], write: Write) -> bool:
    """A line for each size of run and one for all; whether the requirement is met."""
    by_size: dict[str, Counter[str]] = {}
    for summary in summaries:
        by_size.setdefault(summary.size, Counter()).update(imagined_verdicts(summary))
    total = sum(by_size.values(), Counter[str]())
    write(f"{'runs':<24}{'journals':>9}{'moments':>9}{'helped':>9}{'harmful':>9}\n")
    for size, counts in sorted(by_size.items()):
        n_journals = sum(summary.size == size for summary in summaries)
        write(_line(size, n_journals, counts))
    write(_line("all", len(summaries), total))
    low, high = wilson_interval(total["helped"], total.total())
    write(f"helped: {total['helped'] / max(1, total.total()):.1%} [{low:.1%}, {high:.1%}], required ≤ 10 %\n")
    is_enough = len(summaries) >= MIN_JOURNALS and len(by_size) >= MIN_SIZES
    return is_enough and total["helped"] <= MAX_HELPED_SHARE * total.total()


def _line(size: str, n_journals: int, counts: Counter[str]) -> str:
    return f"{size:<24}{n_journals:>9}{counts.total():>9}{counts['helped']:>9}{counts['harmful']:>9}\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, nargs="*", default=[], help="folders of healthy runs to add")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    known = _read_results(options.results)
    for summary in map(summarize_run, options.runs):
        if summary not in known:
            with options.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(summary) + "\n")
            known.append(summary)
    return conclude(sys.stdout.write, is_met=print_table([*map(JournalSummary.from_json, known)], sys.stdout.write))


def _read_results(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


if __name__ == "__main__":
    sys.exit(main())
