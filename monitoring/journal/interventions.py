"""Interventions of a run as its journal records them, with their follow-ups."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from monitoring.journal.journal import Record


@dataclass
class InterventionEntry:
    """One intervention and the follow-ups that judge it."""

    number: int  # unique within the run
    record: Record
    follow_ups: list[Record] = field(default_factory=list)

    @property
    def step(self) -> int:
        return int(self.record["step"])

    @property
    def by(self) -> str:
        return str(self.record.get("by", "supervisor"))

    @property
    def is_advice(self) -> bool:
        """Whether it was recommended only and not carried out."""
        return bool(self.record.get("advice"))

    @property
    def is_superseded(self) -> bool:
        """Whether a person changed the same thing before it could be judged."""
        return any("superseded_by" in follow_up for follow_up in self.follow_ups)

    @property
    def verdict(self) -> str | None:
        """The newest verdict; None before the first."""
        verdicts = (str(record["verdict"]) for record in reversed(self.follow_ups) if "verdict" in record)
        return next(verdicts, None)


class InterventionLog:
    """All interventions of a run in order; a resume from a checkpoint undoes the later ones."""

    def __init__(self) -> None:
        self.entries: list[InterventionEntry] = []
        self._last_number = 0  # counts undone ones too: a number is never used again
        self._snapshots: dict[int, list[tuple[InterventionEntry, int]]] = {}
        """By checkpoint step: the interventions before it, each with its number of follow-ups."""

    def add(self, record: Record) -> None:
        self._last_number += 1
        self.entries.append(InterventionEntry(self._last_number, record))

    def add_follow_up(self, record: Record) -> None:
        """Attach a follow-up to the newest intervention with its ailment, remedy and (if recorded) number."""
        key = (record["ailment"], record["remedy"], record.get("number") or None)
        for entry in reversed(self.entries):
            if (entry.record.get("ailment"), entry.record.get("remedy"), entry.record.get("number")) == key:
                entry.follow_ups.append(record)
                break

    def on_checkpoint(self, step: int, kept_steps: Collection[int]) -> None:
        """Note which interventions this checkpoint includes; drop the notes of deleted checkpoints."""
        self._snapshots[step] = self._snapshot(self.entries)
        self._snapshots = {at: snapshot for at, snapshot in self._snapshots.items() if at in kept_steps}

    def undo_after(self, step: int) -> None:
        """Remove interventions and follow-ups later than the checkpoint of this step.

        Those of people and of the watchdog stay: the training did not make them and will not repeat them. Steps alone
        do not tell what is later, because a rollback goes back in steps and keeps the interventions before it.
        """
        snapshot = self._snapshots.get(step)
        if snapshot is None:
            snapshot = self._snapshot(entry for entry in self.entries if entry.step <= step)
        for entry, n_follow_ups in snapshot:
            del entry.follow_ups[n_follow_ups:]
        included = {entry.number for entry, _ in snapshot}
        self.entries = [entry for entry in self.entries if entry.number in included or entry.by != "supervisor"]

    @staticmethod
    def _snapshot(entries: Iterable[InterventionEntry]) -> list[tuple[InterventionEntry, int]]:
        return [(entry, len(entry.follow_ups)) for entry in entries]
