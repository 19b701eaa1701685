"""Scorecard of the benchmark `rescue`: rescued runs with intervals, differences of policies, claims and cost."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from benchmarks.reporting import Write, result_word, wilson_interval
from benchmarks.robustness.faults.lists import FAULT_GROUPS, MAIN_FAULTS, faults_of

POLICIES = ("nothing", "random", "obvious", "supervised")
MIN_SCORE_SHARE, MAX_WORK = 0.9, 2.0  # relative to clean runs
COLUMNS = ("fault", *POLICIES, "diagnosis", "after steps", "interventions")
MAX_WORSE = 0.06
"""Of the score: a supervised run may end so much worse than one left alone."""
N_DRAWS = 10_000

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


def difference_interval(by_kind: Sequence[Sequence[float]]) -> tuple[float, float]:
    """95 % interval of the mean difference of pairs, by a bootstrap over kinds of faults."""
    rng = np.random.default_rng(0)
    sums, counts = np.array([sum(d) for d in by_kind]), np.array([len(d) for d in by_kind])
    drawn = rng.integers(0, len(by_kind), (N_DRAWS, len(by_kind)))
    low, high = np.quantile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), (0.025, 0.975))
    return float(low), float(high)


def print_scorecard(results: Sequence[Record], write: Write) -> None:
    clean = clean_run(results)
    write(f"\nclean: score {clean['score']:.3f} in {clean['work']:.0f} steps (median)\n\n")
    for faults in FAULT_GROUPS[results[0]["model"]]:
        if faulty := [r for r in results if r["fault"] in faults]:
            _print_table(faulty, clean, write)
    _print_bars(results, clean, write)
    _print_healthy(results, write)
    _print_verdicts(results, clean, write)
    _print_cures(results, clean, write)
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
    after = _median(r["steps_to_diagnosis"] for r in supervised)
    interventions = statistics.fmean(len(r["interventions"]) for r in supervised) if supervised else 0
    return [results[0]["fault"], *counts, diagnoses, after, f"{interventions:.1f}"]


def _count_rescued(results: Sequence[Record], policy: str, clean: Record) -> str:
    of_policy = [r for r in results if r["policy"] == policy]
    return f"{sum(is_rescued(r, clean) for r in of_policy)}/{len(of_policy)}" if of_policy else "–"


def _scores(results: Sequence[Record], policy: str) -> str:
    scores = [r["score"] or 0.0 for r in results if r["policy"] == policy]
    return f"({' '.join(f'{score:.2f}' for score in scores)})" if scores else ""


def _median(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.0f}" if known else "–"


def _print_bars(results: Sequence[Record], clean: Record, write: Write) -> None:
    """Shares of rescued runs, and of those among the kinds that do harm if nothing is done."""
    runs = {(r["fault"], r["seed"], r["policy"]): r for r in results}
    keys = [
        (fault, seed) for fault, seed, policy in runs if policy == "supervised" and fault not in ("none", "healthy")
    ]
    main = [is_rescued(runs[*key, "supervised"], clean) for key in keys if key[0] in MAIN_FAULTS]
    _print_share("the first kinds", main, 0.95, write)
    left = [key for key in keys if key[0] not in MAIN_FAULTS and (*key, "nothing") in runs]
    sick = [key for key in left if not is_rescued(runs[*key, "nothing"], clean)]
    rescued = [is_rescued(runs[*key, "supervised"], clean) for key in sick]
    _print_share("late and new kinds that fail by themselves", rescued, 0.6, write)
    falls = {key: (runs[*key, "nothing"]["score"] or 0) - (runs[*key, "supervised"]["score"] or 0) for key in left}
    worse = {key: fall for key, fall in falls.items() if fall > MAX_WORSE}
    write(
        f"ended worse than left alone by more than {MAX_WORSE}: {len(worse)} of {len(left)} {result_word(not worse)}\n"
    )
    for (fault, seed), fall in worse.items():
        write(f"  {fault} {seed}: by {fall:.2f}\n")
    for policy in ("obvious", "random"):
        _print_difference(policy, [key for key in sick if (*key, policy) in runs], runs, clean, write)


def _print_share(name: str, rescued: Sequence[bool], least: float, write: Write) -> None:
    if not rescued:
        return
    share, (low, high) = statistics.fmean(rescued), wilson_interval(sum(rescued), len(rescued))
    write(f"{name}: {sum(rescued)} of {len(rescued)} rescued, {share:.0%} [{low:.0%}, {high:.0%}]")
    write(f", at least {least:.0%} {result_word(share >= least)}\n")


def _print_difference(
    policy: str,
    keys: Sequence[tuple[str, int]],
    runs: dict[tuple[str, int, str], Record],
    clean: Record,
    write: Write,
) -> None:
    """Rescued by supervision minus rescued by another policy, on the same faults and seeds."""
    pairs: dict[str, list[float]] = {}
    for key in keys:
        ours, theirs = (is_rescued(runs[*key, name], clean) for name in ("supervised", policy))
        pairs.setdefault(key[0], []).append(float(ours) - float(theirs))
    if not pairs:
        return
    mean = statistics.fmean(d for differences in pairs.values() for d in differences)
    low, high = difference_interval(list(pairs.values()))
    write(f"rescued more than {policy}: {mean:+.0%} [{low:+.0%}, {high:+.0%}] {result_word(low > 0)}\n")


def _print_healthy(results: Sequence[Record], write: Write) -> None:
    """Print interventions in runs without a fault, and each such run that ended otherwise than unsupervised."""
    unsupervised = {(r["fault"], r["seed"]): r["score"] for r in results if r["policy"] == "nothing"}
    healthy = [r for r in results if r["fault"] in ("healthy", "none") and r["policy"] == "supervised"]
    n_interventions = sum(len(r["interventions"]) for r in healthy)
    write(f"false interventions: {n_interventions} in {len(healthy)} healthy runs {result_word(not n_interventions)}\n")
    for run in healthy:
        key = run["fault"], run["seed"]
        score_without = unsupervised.get(key)
        if run["interventions"] or (key in unsupervised and score_without != run["score"]):
            scores = " and ".join("–" if s is None else f"{s:.3f}" for s in (run["score"], score_without))
            write(f"  {run['fault']} {run['seed']}: {run['interventions']}, score with and without: {scores}\n")


def _print_verdicts(results: Sequence[Record], clean: Record, write: Write) -> None:
    """Verdicts in rescued and in lost runs: what is said to have helped should be told from what was lost."""
    for policy in POLICIES[1:]:
        faulty = [r for r in results if r["policy"] == policy and r["fault"] in faults_of(r["model"])]
        for is_saved in (True, False):
            runs = [r for r in faulty if is_rescued(r, clean) is is_saved]
            verdicts = [verdict for r in runs for verdict in r["verdicts"]]
            if not verdicts:
                continue
            counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in sorted(set(verdicts)))
            low, high = wilson_interval(verdicts.count("helped"), len(verdicts))
            write(f"{policy}, {len(runs)} {'rescued' if is_saved else 'lost'} runs: {counts}")
            write(f"; helped {verdicts.count('helped') / len(verdicts):.0%} [{low:.0%}, {high:.0%}]\n")


def _print_cures(results: Sequence[Record], clean: Record, write: Write) -> None:
    """Verdicts where the untreated twin shows that the treatment was the cure: saying `unknown` is no answer."""
    runs = {(r["fault"], r["seed"], r["policy"]): r for r in results}
    cured = [
        run
        for (fault, seed, policy), run in runs.items()
        if policy == "supervised" and (twin := runs.get((fault, seed, "nothing"))) is not None
        if run["interventions"] and is_rescued(run, clean) and not is_rescued(twin, clean)
    ]
    if not cured:
        return
    for verdict, is_met in (("helped", lambda share: share >= 0.5), ("harmful", lambda share: share <= 0.05)):
        n = sum(verdict in run["verdicts"] for run in cured)
        low, high = wilson_interval(n, len(cured))
        write(f"cures said to have been {verdict}: {n} of {len(cured)}, {n / len(cured):.0%} [{low:.0%}, {high:.0%}]")
        write(f" {result_word(is_met(n / len(cured)))}\n")


def _print_cost(results: Sequence[Record], write: Write) -> None:
    """Steps that intervening cost, and the time that deciding takes."""
    treated = [r["work"] for r in results if r["policy"] == "supervised" and r["interventions"]]
    if treated:
        write(f"steps of a treated run, repeated ones and comparisons included: {statistics.median(treated):.0f}\n")
    replayed = [r for r in results if r.get("deciding_ms") is not None]
    if not replayed:
        return
    deciding, step = (statistics.median(r[name] for r in replayed) for name in ("deciding_ms", "step_ms"))
    write(f"deciding: {deciding:.2f} ms of a step of {step:.0f} ms ({deciding / step:.2%})\n")
    same = sum(r["replays"] for r in replayed)
    write(f"decisions recomputed from the journal alone: the same in {same} of {len(replayed)} supervised runs\n")
