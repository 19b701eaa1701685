"""Results of `benchmarks rescue` as a table: who was rescued, what was found, what was done, what it costs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.robustness.faults import GROUPS, faults_of

POLICIES = ("nothing", "random", "supervised")
ENOUGH, WORK_LIMIT = 0.9, 2.0
COLUMNS = ("fault", *POLICIES, "diagnosis", "after steps", "aligned at step", "interventions")

Record = dict[str, Any]
Write = Callable[[str], object]


def is_rescued(result: Record, clean: Record) -> bool:
    """Near the clean run's score, an overfitting one near its own best, with at most twice a clean run's steps."""
    fault, score = faults_of(result["model"]).get(result["fault"]), result["score"]
    of_own_best = fault is not None and fault.of_own_best
    if result["exit"] != 0 or score is None or (result["work"] > WORK_LIMIT * clean["work"] and not of_own_best):
        return False
    wanted = max(s for s in result["scores"] if s is not None) if of_own_best else clean["score"]
    return bool(score >= ENOUGH * wanted)


def clean_run(results: Sequence[Record]) -> Record:
    clean = [r for r in results if r["fault"] == "none" and r["policy"] == "nothing" and r["score"] is not None]
    return {name: statistics.median(r[name] for r in clean) for name in ("score", "work")}


def print_scorecard(results: Sequence[Record], write: Write) -> None:
    clean = clean_run(results)
    write(f"\nclean: score {clean['score']:.3f} in {clean['work']:.0f} steps (median)\n\n")
    for faults in GROUPS[results[0]["model"]]:
        if faulty := [r for r in results if r["fault"] in faults]:
            _print_table(faulty, clean, write)
    _print_healthy(results, write)
    _print_verdicts(results, write)
    _print_cost(results, write)


def _print_table(results: Sequence[Record], clean: Record, write: Write) -> None:
    write(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|\n")
    for fault in dict.fromkeys(r["fault"] for r in results):
        write(f"| {' | '.join(_row([r for r in results if r['fault'] == fault], clean))} |\n")
    totals = [_rescued(results, policy, clean) for policy in POLICIES]
    write(f"| all | {' | '.join(totals)} |{' |' * (len(COLUMNS) - 1 - len(POLICIES))}\n\n")


def _row(results: Sequence[Record], clean: Record) -> list[str]:
    """Rescued of all and the score of each seed by policy; the rest is told of the supervised runs."""
    mine = [r for r in results if r["policy"] == "supervised"]
    counts = [f"{_rescued(results, policy, clean)} {_scores(results, policy)}".strip() for policy in POLICIES]
    found = ", ".join(sorted({r["diagnosis"] or "none" for r in mine}))
    after, aligned = _median(r["steps_to_diagnosis"] for r in mine), _median(r["aligned_step"] for r in mine)
    done = statistics.fmean(len(r["interventions"]) for r in mine) if mine else 0
    return [results[0]["fault"], *counts, found, after, aligned, f"{done:.1f}"]


def _rescued(results: Sequence[Record], policy: str, clean: Record) -> str:
    mine = [r for r in results if r["policy"] == policy]
    return f"{sum(is_rescued(r, clean) for r in mine)}/{len(mine)}"


def _scores(results: Sequence[Record], policy: str) -> str:
    scores = [r["score"] or 0.0 for r in results if r["policy"] == policy]
    return f"({' '.join(f'{score:.2f}' for score in scores)})" if scores else ""


def _median(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.0f}" if known else "–"


def _print_healthy(results: Sequence[Record], write: Write) -> None:
    """Runs without a fault: what was done to them, and how they would have gone without."""
    alone = {(r["fault"], r["seed"]): r["score"] for r in results if r["policy"] == "nothing"}
    healthy = [r for r in results if r["fault"] in ("healthy", "none") and r["policy"] == "supervised"]
    done = sum(len(r["interventions"]) for r in healthy)
    write(f"false interventions: {done} in {len(healthy)} healthy runs\n")
    for run in healthy:
        same = run["fault"], run["seed"]
        other = alone.get(same)
        if run["interventions"] or (same in alone and other != run["score"]):
            with_and_without = " and ".join("–" if s is None else f"{s:.3f}" for s in (run["score"], other))
            write(
                f"  {run['fault']} {run['seed']}: {run['interventions']}, score with and without: {with_and_without}\n"
            )
    for fault in ("none", "healthy"):
        for policy in ("nothing", "supervised"):
            scores = [r["score"] or 0.0 for r in results if (r["fault"], r["policy"]) == (fault, policy)]
            if scores:
                median, least = statistics.median(scores), min(scores)
                name = "clean" if fault == "none" else fault
                write(f"{name}, {policy}: median score {median:.3f}, least {least:.3f} of {len(scores)} runs\n")


def _print_verdicts(results: Sequence[Record], write: Write) -> None:
    for policy in ("random", "supervised"):
        mine = [r for r in results if r["policy"] == policy and r["fault"] in faults_of(r["model"])]
        verdicts = [verdict for r in mine for verdict in r["verdicts"]]
        counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in sorted(set(verdicts)))
        if mine:
            a_run = statistics.fmean(len(r["interventions"]) for r in mine)
            write(f"{policy}: {a_run:.1f} interventions a faulty run; verdicts: {counts or 'none'}\n")


def _print_cost(results: Sequence[Record], write: Write) -> None:
    told = [r for r in results if r.get("deciding_ms") is not None]
    if not told:
        return
    deciding, step = (statistics.median(r[name] for r in told) for name in ("deciding_ms", "step_ms"))
    write(f"deciding: {deciding:.2f} ms of a step of {step:.0f} ms ({deciding / step:.2%})\n")
    same = sum(r["replays"] for r in told)
    write(f"decisions recomputed from the journal alone: the same in {same} of {len(told)} supervised runs\n")
