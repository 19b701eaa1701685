"""The speakers of a corpus: whose voice is at which place of the model's embedding."""

from __future__ import annotations

from collections.abc import Iterable

from corpus.batches import Example
from corpus.utterances import SkippedEntry
from hparams import HParams, UserError
from speech.speakers import list_names


def with_speakers(hparams: HParams, learnt_from: Iterable[Example]) -> HParams:
    """Names those there is something to learn from, unless they are named already, as in a voice."""
    if not hparams.num_speakers or hparams.speakers:
        return hparams
    names = tuple(sorted({e.utterance.speaker for e in learnt_from if e.utterance.speaker}))
    if not names:
        raise UserError(f"num_speakers={hparams.num_speakers}: the corpus names no speakers; leave it at 0")
    if len(names) > hparams.num_speakers:
        raise UserError(
            f"num_speakers={hparams.num_speakers}: the corpus has {len(names)} speakers, {list_names(names)}; "
            'set it to that, or say whom to learn: --hparams "speakers=a;b"'
        )
    return hparams.model_copy(update={"speakers": names})


def require_all_heard(hparams: HParams, learnt_from: Iterable[Example]) -> None:
    """A voice of whom nothing was heard would be noise."""
    heard = {e.utterance.speaker for e in learnt_from}
    if missing := tuple(name for name in hparams.speakers if name not in heard):
        raise UserError(f"speakers: no recordings to train on of {list_names(missing)}; name others, or add recordings")


def strangers(examples: Iterable[Example], hparams: HParams) -> list[SkippedEntry]:
    """Utterances of none of the speakers."""
    if not hparams.num_speakers:
        return []
    return [
        SkippedEntry(e.utterance.id, f"its speaker, {e.utterance.speaker or 'unnamed'}, is none of the model's")
        for e in examples
        if e.utterance.speaker not in hparams.speakers
    ]
