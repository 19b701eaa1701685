"""Speakers of a corpus: their names for the recipe, and the examples of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from corpus.batches import Example
from corpus.utterances import SkippedEntry
from hparams import HParams, UserError
from speech.speakers import list_names, speaker_inputs


def with_speaker_names(hparams: HParams, train: Iterable[Example]) -> HParams:
    """Set the names of the speakers to those of the training examples, unless the recipe names them already."""
    if not hparams.num_speakers or hparams.speakers:
        return hparams
    names = tuple(sorted({e.utterance.speaker for e in train if e.utterance.speaker}))
    if not names:
        raise UserError(f"num_speakers={hparams.num_speakers}: the corpus names no speakers; leave it at 0")
    if len(names) > hparams.num_speakers:
        raise UserError(
            f"num_speakers={hparams.num_speakers}: the corpus has {len(names)} speakers, {list_names(names)}; "
            'set it to that, or say whom to learn: --hparams "speakers=a;b"'
        )
    return hparams.model_copy(update={"speakers": names})


def select_speakers(examples: Sequence[Example], hparams: HParams) -> tuple[list[Example], list[SkippedEntry]]:
    """Give each example its speaker as an input of the model, and skip those of other speakers."""
    if not hparams.num_speakers:
        return list(examples), []
    selected = [e for e in examples if e.utterance.speaker in hparams.speakers]
    skipped = [
        SkippedEntry(e.utterance.id, f"its speaker, {e.utterance.speaker or 'unnamed'}, is none of the model's")
        for e in examples
        if e.utterance.speaker not in hparams.speakers
    ]
    return [replace(e, inputs=speaker_inputs(e.utterance.speaker, hparams)) for e in selected], skipped


def require_examples_of_speakers(hparams: HParams, train: Iterable[Example]) -> None:
    """Refuse a speaker without training examples: the voice would be noise."""
    trained = {e.utterance.speaker for e in train}
    if missing := tuple(name for name in hparams.speakers if name not in trained):
        raise UserError(f"speakers: no recordings to train on of {list_names(missing)}; name others, or add recordings")
