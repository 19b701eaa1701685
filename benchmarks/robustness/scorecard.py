"""Scorecard of the benchmark `rescue`: rescued runs, diagnoses, interventions, verdicts and cost, as tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.reporting import Write
from benchmarks.robustness.faults import FAULT_GROUPS, faults_of

POLICIES = ("nothing", "random", "supervised")
MIN_SCORE_SHARE, MAX_WORK = 0.9, 2.0  # relative to clean runs
COLUMNS = ("fault", *POLICIES, "diagnosis", "after steps", "aligned at step", "interventions")

Record = dict[str, Any]


def is_rescued(result: Record, clean: Record) -> bool:
    """Whether the score is near the clean run's, or its own best if the fault says so, at not too many steps."""
    fault, score = faults_of(result["model"]).get(result["fault"]), result["score"]
    uses_own_best = fault is not None and fault.compares_with_own_best
    if result["exit"] != 0 or score is None or (result["work"] > MAX_WORK * clean["work"] and not uses_own_best):
        return False
    reference = max(s for s in result["scores"] if s is not None) if uses_own_best else clean["score"]
    return bool(score >= MIN_SCORE_SHARE * reference)


def clean_run(results: Sequence[Record]) -> Record:
    """Median score and work of the runs without fault and supervisor."""
    clean = [r for r in results if r["fault"] == "none" and r["policy"] == "nothing" and r["score"] is not None]
    return {name: statistics.median(r[name] for r in clean) for name in ("score", "work")}


def print_scorecard(results: Sequence[Record], write: Write) -> None:
    clean = clean_run(results)
    write(f"\nclean: score {clean['score']:.3f} in {clean['work']:.0f} steps (median)\n\n")
    for faults in FAULT_GROUPS[results[0]["model"]]:
        if faulty := [r for r in results if r["fault"] in faults]:
            _print_table(faulty, clean, write)
    _print_healthy(results, write)
    _print_verdicts(results, write)
    _print_cost(results, write)


def _print_table(results: Sequence[Record], clean: Record, write: Write) -> None:
    write(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|\n")
    for fault in dict.fromkeys(r["fault"] for r in results):
        write(f"| {' | '.join(_row([r for r in results if r['fault'] == fault], clean))} |\n")
    totals = [_count_rescued(results, policy, clean) for policy in POLICIES]
    write(f"| all | {' | '.join(totals)} |{' |' * (len(COLUMNS) - 1 - len(POLICIES))}\n\n")


def _row(results: Sequence[Record], clean: Record) -> list[str]:
    """Rescued runs and scores for each policy; the other columns describe the supervised runs."""
    supervised = [r for r in results if r["policy"] == "supervised"]
    counts = [f"{_count_rescued(results, policy, clean)} {_scores(results, policy)}".strip() for policy in POLICIES]
    diagnoses = ", ".join(sorted({r["diagnosis"] or "none" for r in supervised}))
    after, aligned = (_median(r[name] for r in supervised) for name in ("steps_to_diagnosis", "aligned_step"))
    interventions = statistics.fmean(len(r["interventions"]) for r in supervised) if supervised else 0
    return [results[0]["fault"], *counts, diagnoses, after, aligned, f"{interventions:.1f}"]


def _count_rescued(results: Sequence[Record], policy: str, clean: Record) -> str:
    of_policy = [r for r in results if r["policy"] == policy]
    return f"{sum(is_rescued(r, clean) for r in of_policy)}/{len(of_policy)}"


def _scores(results: Sequence[Record], policy: str) -> str:
    scores = [r["score"] or 0.0 for r in results if r["policy"] == policy]
    return f"({' '.join(f'{score:.2f}' for score in scores)})" if scores else ""


def _median(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.0f}" if known else "–"


def _print_healthy(results: Sequence[Record], write: Write) -> None:
    """Print interventions in runs without a fault, and each such run that ended otherwise than unsupervised."""
    unsupervised = {(r["fault"], r["seed"]): r["score"] for r in results if r["policy"] == "nothing"}
    healthy = [r for r in results if r["fault"] in ("healthy", "none") and r["policy"] == "supervised"]
    n_interventions = sum(len(r["interventions"]) for r in healthy)
    write(f"false interventions: {n_interventions} in {len(healthy)} healthy runs\n")
    for run in healthy:
        key = run["fault"], run["seed"]
        score_without = unsupervised.get(key)
        if run["interventions"] or (key in unsupervised and score_without != run["score"]):
            scores = " and ".join("–" if s is None else f"{s:.3f}" for s in (run["score"], score_without))
            write(f"  {run['fault']} {run['seed']}: {run['interventions']}, score with and without: {scores}\n")
    for fault in ("none", "healthy"):
        for policy in ("nothing", "supervised"):
            of_kind = [r["score"] or 0.0 for r in results if (r["fault"], r["policy"]) == (fault, policy)]
            if of_kind:
                median, minimum = statistics.median(of_kind), min(of_kind)
                name = "clean" if fault == "none" else fault
                write(f"{name}, {policy}: median score {median:.3f}, least {minimum:.3f} of {len(of_kind)} runs\n")


def _print_verdicts(results: Sequence[Record], write: Write) -> None:
    for policy in ("random", "supervised"):
        faulty = [r for r in results if r["policy"] == policy and r["fault"] in faults_of(r["model"])]
        verdicts = [verdict for r in faulty for verdict in r["verdicts"]]
        counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in sorted(set(verdicts)))
        if faulty:
            per_run = statistics.fmean(len(r["interventions"]) for r in faulty)
            write(f"{policy}: {per_run:.1f} interventions a faulty run; verdicts: {counts or 'none'}\n")


def _print_cost(results: Sequence[Record], write: Write) -> None:
    replayed = [r for r in results if r.get("deciding_ms") is not None]
    if not replayed:
        return
    deciding, step = (statistics.median(r[name] for r in replayed) for name in ("deciding_ms", "step_ms"))
    write(f"deciding: {deciding:.2f} ms of a step of {step:.0f} ms ({deciding / step:.2%})\n")
    same = sum(r["replays"] for r in replayed)
    write(f"decisions recomputed from the journal alone: the same in {same} of {len(replayed)} supervised runs\n")
