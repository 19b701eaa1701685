"""The speakers of a corpus: whose voice is at which place of the model's embedding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from corpus.batches import Example
from corpus.utterances import SkippedEntry
from hparams import HParams, UserError

SHOWN_NAMES = 10


def with_speakers(hparams: HParams, learnt_from: Iterable[Example]) -> HParams:
    """Names those there is something to learn from, unless they are named already, as in a voice."""
    if not hparams.num_speakers or hparams.speakers:
        return hparams
    names = tuple(sorted({e.utterance.speaker for e in learnt_from if e.utterance.speaker}))
    if not names:
        raise UserError(f"num_speakers={hparams.num_speakers}: the corpus names no speakers; leave it at 0")
    if len(names) > hparams.num_speakers:
        raise UserError(
            f"num_speakers={hparams.num_speakers}: the corpus has {len(names)} speakers, {listed(names)}; "
            'set it to that, or say whom to learn: --hparams "speakers=a;b"'
        )
    return hparams.model_copy(update={"speakers": names})


def require_all_heard(hparams: HParams, learnt_from: Iterable[Example]) -> None:
    """A voice of whom nothing was heard would be noise."""
    heard = {e.utterance.speaker for e in learnt_from}
    if missing := tuple(name for name in hparams.speakers if name not in heard):
        raise UserError(f"speakers: there is nothing to learn {listed(missing)} from; name others, or add recordings")


def speaker_inputs(name: str | None, hparams: HParams) -> dict[str, np.ndarray]:
    """The model's input `speakers`: the speaker's place in its embedding; none of a model with one voice."""
    return {"speakers": np.array(hparams.speakers.index(name))} if name in hparams.speakers else {}


def strangers(examples: Iterable[Example], hparams: HParams) -> list[SkippedEntry]:
    """Utterances of none of the speakers."""
    if not hparams.num_speakers:
        return []
    return [
        SkippedEntry(e.utterance.id, f"its speaker, {e.utterance.speaker or 'unnamed'}, is none of the model's")
        for e in examples
        if e.utterance.speaker not in hparams.speakers
    ]


def chosen_speaker(name: str | None, hparams: HParams) -> dict[str, np.ndarray]:
    """Inputs for the speaker that the person chose; the first one where nobody is named."""
    if name is None:
        return speaker_inputs(hparams.speakers[0] if hparams.speakers else None, hparams)
    if not hparams.speakers:
        raise UserError(f"--speaker {name}: this voice has one speaker only; leave it out")
    if name not in hparams.speakers:
        raise UserError(f"--speaker {name}: there is nobody of that name; expected one of {listed(hparams.speakers)}")
    return speaker_inputs(name, hparams)


def listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN_NAMES} more (hparams.json has all)" if len(names) > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + more
