"""The speakers of a corpus: whose voice is at which place of the model's embedding."""

from __future__ import annotations

from collections.abc import Iterable

from corpus.batches import Example
from corpus.utterances import Skipped, Utterance
from hparams import HParams, UserError

SHOWN_NAMES = 10


def with_speakers(hparams: HParams, utterances: Iterable[Utterance]) -> HParams:
    """Names those of the corpus, unless they are named already, as in a voice."""
    if not hparams.num_speakers or hparams.speakers:
        return hparams
    names = tuple(sorted({u.speaker for u in utterances if u.speaker}))
    if not names:
        raise UserError(f"num_speakers={hparams.num_speakers}: the corpus names no speakers; leave it at 0")
    if len(names) > hparams.num_speakers:
        raise UserError(
            f"num_speakers={hparams.num_speakers}: the corpus has {len(names)} speakers, {listed(names)}; "
            "set it to that, or name those to learn, speakers=a;b"
        )
    return hparams.model_copy(update={"speakers": names})


def place_of(name: str | None, hparams: HParams) -> int | None:
    """In the embedding; of a single voice none."""
    return hparams.speakers.index(name) if name in hparams.speakers else None


def strangers(examples: Iterable[Example], hparams: HParams) -> list[Skipped]:
    """Utterances of none of the speakers."""
    if not hparams.num_speakers:
        return []
    return [
        Skipped(e.utterance.id, f"its speaker, {e.utterance.speaker or 'unnamed'}, is none of those to learn")
        for e in examples
        if e.speaker is None
    ]


def chosen_speaker(name: str | None, hparams: HParams) -> int | None:
    """Who shall speak; the first one where nobody is named."""
    if name is None:
        return 0 if hparams.num_speakers else None
    if (place := place_of(name, hparams)) is not None:
        return place
    if name.isdecimal() and not hparams.speakers and int(name) < hparams.num_speakers:  # weights of another program
        return int(name)
    known = listed(hparams.speakers) if hparams.speakers else f"{hparams.num_speakers} without names, from 0 on"
    raise UserError(f"--speaker {name}: is none of this voice's" + (f": {known}" if hparams.num_speakers else ""))


def listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + more
