"""Recompute a run's decisions from its journal's signals: `python -m smart_tuner.replay logs/<run>`.

Says whether they are the recorded ones (exit 0) or not (exit 1). With `--config other.yaml` it shows what another
policy would have decided by the same signals, up to where its first other intervention would have changed them.
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
from monitoring.journal.journal import read_journal
from smart_tuner.inputs.run_facts import RunFacts
from smart_tuner.settings import Settings, load_settings
from smart_tuner.supervisor import Supervisor
from smart_tuner.treatment.decisions import Decision

DECISIONS = ("phase", "diagnosis", "proposal", "intervention", "follow_up")
HEAD = ("schema_version", "time")


@dataclass
class Replay:
    """A supervisor that is told what a journal says, and what it decided."""

    settings: Settings | None = None  # another policy than the recorded one
    supervisor: Supervisor | None = None
    decided: list[dict[str, Any]] = field(default_factory=list)
    recorded: list[dict[str, Any]] = field(default_factory=list)
    _saved: dict[int, dict[str, Any]] = field(default_factory=dict)

    def take(self, record: Mapping[str, Any]) -> None:
        if record["kind"] in DECISIONS and "by" not in record:
            self.recorded.append({name: value for name, value in record.items() if name not in HEAD})
        elif "supervision" in record:
            self._begin(record)
        elif self.supervisor is not None and (react := getattr(self, f"_take_{record['kind']}", None)):
            self._note(react(self.supervisor, record))

    def _begin(self, record: Mapping[str, Any]) -> None:
        given = record["supervision"]
        settings = self.settings or Settings.model_validate(given["settings"])
        self.supervisor = Supervisor(
            RunFacts.model_validate(given["facts"]), settings, advise=given["mode"] == "advise"
        )
        if record["kind"] == "resumed" and (state := self._saved.get(record["step"])) is not None:
            self.supervisor.load_state_dict(copy.deepcopy(state))
        self.supervisor.state.knobs |= given["knobs"]

    def _take_steps(self, supervisor: Supervisor, record: Mapping[str, Any]) -> Iterable[Decision]:
        outliers = record.get("outliers", {})
        for step, signals in _rows(record):
            yield from supervisor.observe_step(step, signals, outliers.get(str(step), {}))

    def _take_evaluation(self, supervisor: Supervisor, record: Mapping[str, Any]) -> Iterable[Decision]:
        return supervisor.observe_evaluation(record["step"], record["signals"])

    def _take_checkpoint(self, supervisor: Supervisor, record: Mapping[str, Any]) -> Iterable[Decision]:
        self._saved[record["step"]] = supervisor.state_dict()
        return supervisor.observe_checkpoint(record["step"], record["kept"], record["signals"])

    def _take_intervention(self, supervisor: Supervisor, record: Mapping[str, Any]) -> Iterable[Decision]:
        """Of a person; the watchdog's concern processes, not training."""
        return supervisor.observe_turn(record["knob"], record["to"]) if record["by"] == "person" else []

    def _take_order(self, supervisor: Supervisor, record: Mapping[str, Any]) -> Iterable[Decision]:
        is_answer = record["order"] in ("approve", "reject") and record["result"] == "done"
        if is_answer and record["number"] in supervisor.state.proposed:
            supervisor.observe_answer(record["number"], granted=record["order"] == "approve")
        return []

    def _take_rolled_back(self, supervisor: Supervisor, record: Mapping[str, Any]) -> Iterable[Decision]:
        return supervisor.observe_rollback(record["to"])

    def _take_race(self, supervisor: Supervisor, record: Mapping[str, Any]) -> Iterable[Decision]:
        if supervisor.state.pending is None or not supervisor.state.pending.racing:
            return supervisor.observe_rollback(record["from_step"])  # another policy has no use for the arms
        arms = [ArmSignals(arm["knobs"], tuple(_rows(arm)), arm["evaluation"]) for arm in record["arms"]]
        return supervisor.observe_race(record["from_step"], arms)[0]

    def _note(self, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            fields = {"step": decision.step, "kind": decision.kind, **decision.fields}
            self.decided.append(json.loads(json.dumps(fields)))


def _rows(record: Mapping[str, Any]) -> list[tuple[int, dict[str, float | None]]]:
    """Steps and their signals, from columns."""
    columns = record["signals"]
    return [(step, {name: column[i] for name, column in columns.items()}) for i, step in enumerate(record["steps"])]


def replay(run: Path, settings: Settings | None = None) -> Replay:
    """All that a run's journal makes a supervisor decide."""
    path = run / "journal.jsonl"
    if not path.is_file():
        raise UserError(f"{path}: there is no such journal; expected the folder of a run, like logs/<run>")
    told = Replay(settings)
    for record in read_journal(path):
        told.take(record)
    if told.supervisor is None:
        raise UserError(f"{path}: this run was not supervised; there is nothing to recompute")
    return told


def first_difference(told: Replay) -> int | None:
    """The number of the first decision that is not the recorded one."""
    pairs = zip(told.decided, told.recorded, strict=False)
    different = next((i for i, (mine, theirs) in enumerate(pairs) if mine != theirs), None)
    if different is None and len(told.decided) != len(told.recorded):
        return min(len(told.decided), len(told.recorded))
    return different


def describe(decision: Mapping[str, Any]) -> str:
    """One line: what was decided at which step."""
    said = [f"{name} {decision[name]}" for name in ("ailment", "severity", "remedy", "verdict") if name in decision]
    moved = [f"{decision.get('knob', '')} {decision['from']} → {decision['to']}".strip()] if "from" in decision else []
    return f"step {decision['step']:>7} {decision['kind']:<12} {'  '.join([*said, *moved])}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m smart_tuner.replay", description=__doc__)
    parser.add_argument("run", type=Path, help="the folder of a run, like logs/<run>")
    parser.add_argument("--config", type=Path, help="settings of another policy")
    options = parser.parse_args(arguments)
    try:
        told = replay(options.run, load_settings(options.config) if options.config else None)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    different = first_difference(told)
    if options.config is not None:
        sys.stdout.writelines(f"{describe(decision)}\n" for decision in told.decided)
        where = "nowhere" if different is None else f"from decision {different + 1} on"
        sys.stdout.write(f"{len(told.decided)} decisions; other than the recorded {len(told.recorded)} ones: {where}\n")
        return 0
    if different is None:
        sys.stdout.write(f"{len(told.recorded)} decisions recomputed: the same as recorded\n")
        return 0
    for name, decisions in (("recorded", told.recorded), ("recomputed", told.decided)):
        said = describe(decisions[different]) if different < len(decisions) else "nothing more"
        detail = json.dumps(decisions[different], ensure_ascii=False) if different < len(decisions) else ""
        sys.stdout.write(f"{name:<10} {said}\n           {detail}\n")
    sys.stdout.write(f"decision {different + 1} differs\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
