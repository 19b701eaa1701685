"""File with the prepared corpus of a study, written once, so that no worker has to prepare the corpus again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from commands.run.corpus import PreparedCorpus
from corpus.batches import Example
from corpus.mel_cache import MelCache
from corpus.text.frontend import text_frontend
from corpus.utterances import SkippedEntry, Utterance
from files import write_atomically
from hparams import HParams
from speech.speakers import speaker_inputs

CORPUS_FILE = "corpus.json"


def write_corpus_file(path: Path, corpus: PreparedCorpus) -> None:
    content = {
        "name": corpus.name,
        "identity": corpus.identity,
        "speakers": corpus.hparams.speakers,
        "speech_level": corpus.hparams.speech_level,
        "level_spread_db": corpus.level_spread_db,
        "train": [_example_fields(example, corpus.cache) for example in corpus.train],
        "held_out": [_example_fields(example, corpus.cache) for example in corpus.held_out],
        "skipped": [[entry.where, entry.reason] for entry in corpus.skipped],
    }
    write_atomically(path, json.dumps(content).encode())


def read_corpus_file(path: Path, hparams: HParams, output: Path) -> PreparedCorpus:
    """Corpus for the recipe `hparams`; its mels are in the cache of the folder `output`."""
    content = json.loads(path.read_text(encoding="utf-8"))
    prepared = {"speakers": tuple(content["speakers"]), "speech_level": content["speech_level"]}
    hparams = hparams.model_copy(update=prepared)
    cache = MelCache(output / ".cache" / "mels", hparams)
    train, held_out = (
        tuple(_example(fields, hparams, cache) for fields in content[part]) for part in ("train", "held_out")
    )
    corpus = PreparedCorpus(
        name=content["name"],
        frontend=text_frontend(hparams),
        train=train,
        held_out=held_out,
        skipped=tuple(SkippedEntry(where, reason) for where, reason in content["skipped"]),
        cache=cache,
        hparams=hparams,
        level_spread_db=content["level_spread_db"],
    )
    assert corpus.identity == content["identity"], f"{path}: the examples differ from those that were written"
    return corpus


def _example_fields(example: Example, cache: MelCache) -> dict[str, Any]:
    utterance = example.utterance
    return {
        "id": utterance.id,
        "audio_path": str(utterance.audio_path),
        "text": utterance.text,
        "speaker": utterance.speaker,
        "split": utterance.split,
        "symbol_ids": example.symbol_ids,
        "n_frames": example.n_frames,
        "content_digest": cache.content_digest(utterance),
    }


def _example(fields: Mapping[str, Any], hparams: HParams, cache: MelCache) -> Example:
    path, speaker, n_frames = Path(fields["audio_path"]), fields["speaker"], int(fields["n_frames"])
    utterance = Utterance(fields["id"], path, fields["text"], speaker, fields["split"])
    cache.remember(utterance, fields["content_digest"], n_frames)
    return Example(utterance, tuple(fields["symbol_ids"]), n_frames, speaker_inputs(speaker, hparams))
