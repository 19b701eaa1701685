"""Speakers of a voice: each has a place in the model's embedding, in the order of the setting `speakers`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hparams import HParams, UserError

MAX_LISTED_NAMES = 10


def choose_speaker(name: str | None, hparams: HParams) -> str | None:
    """Return the speaker to use: the one asked for, else the first; None for a voice with a single speaker."""
    if name is None:
        return hparams.speakers[0] if hparams.speakers else None
    if not hparams.speakers:
        raise UserError(f"speaker {name}: this voice has one speaker only; leave the speaker out")
    if name not in hparams.speakers:
        raise UserError(f"speaker {name}: not known to this voice; expected one of {list_names(hparams.speakers)}")
    return name


def speaker_inputs(name: str | None, hparams: HParams) -> dict[str, np.ndarray]:
    """Return the model's input `speakers`, the speaker's place in the embedding; none for a voice without speakers."""
    return {"speakers": np.array(hparams.speakers.index(name))} if name in hparams.speakers else {}


def list_names(names: Sequence[str]) -> str:
    """Join the names for a message, or the first ones if there are many."""
    n_more = len(names) - MAX_LISTED_NAMES
    more = f" and {n_more} more (hparams.json has all)" if n_more > 0 else ""
    return ", ".join(names[:MAX_LISTED_NAMES]) + more
