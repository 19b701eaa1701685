"""Recompute a run's decisions from the signals in its journal: `python -m smart_tuner.replay logs/<run>`.

Exits with 0 if they are the recorded ones, with 1 if not; a journal of another version of the decisions is compared and
exits with 0. `--config other.yaml` shows the decisions of other settings
for the same signals; they are realistic up to the first intervention that would have changed the signals.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hparams import UserError
from monitoring.events import ArmSignals
from monitoring.journal.journal import RETURN_MARK, read_journal
from smart_tuner.inputs.run_facts import RunFacts
from smart_tuner.settings import Settings, load_settings
from smart_tuner.supervisor import DECISION_VERSION, Supervisor
from smart_tuner.treatment.decisions import Decision

DECISION_KINDS = ("phase", "diagnosis", "proposal", "intervention", "follow_up")
FIRST_VERSION = 1  # of decisions; it was not recorded yet
RECORD_HEADER = ("schema_version", "time")


@dataclass
class Replay:
    """A supervisor fed from journal records, with its decisions beside the recorded ones."""

    settings: Settings | None = None  # instead of the recorded ones
    supervisor: Supervisor | None = None
    recomputed: list[dict[str, Any]] = field(default_factory=list)
    recorded: list[dict[str, Any]] = field(default_factory=list)
    version: int = DECISION_VERSION  # of the decisions that are recorded next
    versions: list[int] = field(default_factory=list)  # of each recorded decision
    _knows_return: bool = False  # whether the supervisor has gone back to the abandoned state itself
    _states: dict[int, dict[str, Any]] = field(default_factory=dict)  # of the supervisor, by checkpoint

    def on_record(self, record: Mapping[str, Any]) -> None:
        if record["kind"] in DECISION_KINDS and "by" not in record:
            self.recorded.append({name: value for name, value in record.items() if name not in RECORD_HEADER})
            self.versions.append(self.version)
        elif "supervision" in record:
            self._start(record)
        elif record.get(RETURN_MARK) and self._knows_return:  # it repeats a record of kind "abandoned"
            return
        elif self.supervisor is not None and (observe := getattr(self, f"_observe_{record['kind']}", None)):
            self._add(observe(self.supervisor, record))

    def _start(self, record: Mapping[str, Any]) -> None:
        """Create the supervisor that the record of a start or resume describes."""
        recorded = record["supervision"]
        self.version = recorded.get("version", FIRST_VERSION)
        facts = RunFacts.model_validate(recorded["facts"])
        settings = self.settings or Settings.model_validate(recorded["settings"])
        self.supervisor = Supervisor(facts, settings, advise=recorded["mode"] == "advise")
        if record["kind"] == "resumed" and (state := self._states.get(record["step"])) is not None:
            self.supervisor.load_state_dict(copy.deepcopy(state))
        self.supervisor.state.knobs |= recorded["knobs"]

    def _observe_steps(self, supervisor: Supervisor, record: Mapping[str, Any]) -> Iterable[Decision]:
        outliers = record.get("outliers", {})
        for step, signals in _rows(record):
            yield from supervisor.observe_step(step, signals, outliers.get(str(step), {}))

    def _observe_evaluation(self, supervisor: Supervisor, record: Mapping[str, Any]) -> Iterable[Decision]:
        distances = {
            u["id"]: u["mel_distance"] for u in record.get("utterances", ()) if u.get("mel_distance") is not None
        }
        return supervisor.observe_evaluation(
            record["step"], record["signals"], distances, record.get("odd_utterances", ())
        )

    def _observe_checkpoint(self, supervisor: Supervisor, record: Mapping[str, Any]) -> Iterable[Decision]:
        self._states[record["step"]] = supervisor.state_dict()
        return supervisor.observe_checkpoint(record["step"], record["kept"], record["signals"])

    def _observe_intervention(self, supervisor: Supervisor, record: Mapping[str, Any]) -> Iterable[Decision]:
        """A person's intervention; the watchdog's concern processes, not training."""
        return supervisor.observe_turn(record["knob"], record["to"]) if record["by"] == "person" else []

    def _observe_order(self, supervisor: Supervisor, record: Mapping[str, Any]) -> Iterable[Decision]:
        is_answer = record["order"] in ("approve", "reject") and record["result"] == "done"
        if is_answer and record["number"] in supervisor.state.proposed:
            supervisor.state.answer_proposal(record["number"], granted=record["order"] == "approve")
        return []

    def _observe_plan(self, supervisor: Supervisor, record: Mapping[str, Any]) -> Iterable[Decision]:
        if "patience_steps" in record:  # earlier versions kept that of the plan before
            supervisor.observe_plan(record["planned_steps"], record["patience_steps"])
        return []

    def _observe_rolled_back(self, supervisor: Supervisor, record: Mapping[str, Any]) -> Iterable[Decision]:
        return supervisor.observe_rollback(record["to"])

    def _observe_race(self, supervisor: Supervisor, record: Mapping[str, Any]) -> Iterable[Decision]:
        if supervisor.state.pending is None or not supervisor.state.pending.racing:
            return self._observe_untreated_arm(supervisor, record)  # with these settings, no race was ordered
        return supervisor.observe_race(record["from_step"], [_arm(arm) for arm in record["arms"]])[0]

    def _observe_abandoned(self, supervisor: Supervisor, record: Mapping[str, Any]) -> Iterable[Decision]:
        self._knows_return = False
        if supervisor.state.pending is None or not supervisor.state.pending.racing:
            return []  # with these settings, it was not asked for
        arm = None if record["arm"] is None else _arm(record["arm"])
        decisions, self._knows_return = supervisor.observe_abandoned(record["from_step"], arm)
        return decisions

    @staticmethod
    def _observe_untreated_arm(supervisor: Supervisor, record: Mapping[str, Any]) -> Iterable[Decision]:
        arm = record["arms"][0]
        yield from supervisor.observe_rollback(record["from_step"])
        for step, signals in _rows(arm):
            yield from supervisor.observe_step(step, signals)
        yield from supervisor.observe_evaluation(arm["steps"][-1], arm["evaluation"], arm.get("distances", {}))

    def _add(self, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            fields = {"step": decision.step, "kind": decision.kind, **decision.fields}
            self.recomputed.append(json.loads(json.dumps(fields)))


def _arm(recorded: Mapping[str, Any]) -> ArmSignals:
    evaluation, distances = recorded["evaluation"], recorded.get("distances", {})
    return ArmSignals(recorded["knobs"], tuple(_rows(recorded)), evaluation, distances)


def _rows(record: Mapping[str, Any]) -> list[tuple[int, dict[str, float | None]]]:
    """(step, signals) of each step, from columns."""
    columns = record["signals"]
    return [(step, {name: column[i] for name, column in columns.items()}) for i, step in enumerate(record["steps"])]


def replay(run: Path, settings: Settings | None = None) -> Replay:
    """Feed a run's journal to a supervisor with the recorded or with other settings."""
    path = run / "journal.jsonl"
    if not path.is_file():
        raise UserError(f"{path}: there is no such journal; expected the folder of a run, like logs/<run>")
    replayed = Replay(settings)
    for record in read_journal(path):
        replayed.on_record(record)
    if replayed.supervisor is None:
        raise UserError(f"{path}: this run was not supervised; there is nothing to recompute")
    return replayed


def first_difference(replayed: Replay) -> int | None:
    """Index of the first decision that differs from the recorded one."""
    pairs = zip(replayed.recomputed, replayed.recorded, strict=False)
    different = next((i for i, (recomputed, recorded) in enumerate(pairs) if recomputed != recorded), None)
    if different is None and len(replayed.recomputed) != len(replayed.recorded):
        return min(len(replayed.recomputed), len(replayed.recorded))
    return different


def describe(decision: Mapping[str, Any]) -> str:
    """A decision in one line."""
    parts = [f"{name} {decision[name]}" for name in ("ailment", "severity", "remedy", "verdict") if name in decision]
    if "from" in decision:
        parts.append(f"{decision.get('knob', '')} {decision['from']} → {decision['to']}".strip())
    return f"step {decision['step']:>7} {decision['kind']:<12} {'  '.join(parts)}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m smart_tuner.replay", description=__doc__)
    parser.add_argument("run", type=Path, help="the folder of a run, like logs/<run>")
    parser.add_argument("--config", type=Path, help="settings to decide with, instead of the recorded ones")
    options = parser.parse_args(arguments)
    try:
        replayed = replay(options.run, load_settings(options.config) if options.config else None)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    recomputed, recorded = replayed.recomputed, replayed.recorded
    different = first_difference(replayed)
    if options.config is not None:
        sys.stdout.writelines(f"{describe(decision)}\n" for decision in recomputed)
        where = "nowhere" if different is None else f"from number {different + 1} on"
        sys.stdout.write(f"{len(recomputed)} decisions; they differ from the recorded {len(recorded)} {where}\n")
        return 0
    if different is None:
        sys.stdout.write(f"{len(recorded)} decisions recomputed: the same as recorded\n")
        return 0
    version = replayed.versions[min(different, len(recorded) - 1)] if recorded else replayed.version
    if version != DECISION_VERSION:
        sys.stdout.write(
            f"{len(recorded)} decisions recorded by decision version {version}; version {DECISION_VERSION} "
            f"makes {len(recomputed)}, which differ from number {different + 1} on\n"
        )
        return 0
    for name, decisions in (("recorded", recorded), ("recomputed", recomputed)):
        is_present = different < len(decisions)
        line = describe(decisions[different]) if is_present else "no further decision"
        detail = json.dumps(decisions[different], ensure_ascii=False) if is_present else ""
        sys.stdout.write(f"{name:<10} {line}\n           {detail}\n")
    sys.stdout.write(f"decision {different + 1} differs\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
