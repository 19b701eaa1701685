"""Utterances read from metadata of any supported format; unusable rows are reported by file and line."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from corpus import formats
from corpus.audio.phone_formats import require_pyav
from hparams import UserError

Split = Literal["train", "validation"]

READERS: dict[str, formats.Reader] = {
    "ljspeech": formats.read_ljspeech,
    "ruslan": formats.read_ruslan,
    "filelist": formats.read_file_list,
    "csv": formats.read_table,
    "paired": formats.read_pairs,
}
EXPECTED_METADATA = (
    "metadata.csv (id|raw|normalised or id|text), train.txt and validation.txt (path|text), "
    "a CSV or TSV table with a header, or pairs of x.wav and x.txt"
)


@dataclass(frozen=True)
class Utterance:
    """One recording with its transcript; `split` is set only if the corpus itself states it."""

    id: str
    audio_path: Path
    text: str
    speaker: str | None = None
    split: Split | None = None


@dataclass(frozen=True)
class SkippedEntry:
    """An unusable metadata row or recording: `where` is `file:line` or an utterance id."""

    where: str
    reason: str


@dataclass(frozen=True)
class Corpus:
    """Usable utterances in the order of the metadata, and the skipped entries."""

    format: str
    utterances: tuple[Utterance, ...]
    skipped: tuple[SkippedEntry, ...]


def read_corpus(data: str, data_format: str) -> Corpus:
    """Read a folder, a metadata file or `train.txt,val.txt`; `auto` detects the format from the content."""
    if data_format != "auto" and data_format not in READERS:
        raise UserError(f"data_format {data_format!r}: expected one of auto, {', '.join(READERS)}")
    if not data:
        raise UserError("--data is empty: expected a folder of recordings or a metadata file")
    path = Path(data).expanduser()
    if not path.exists() and "," in data:
        return _read_two_lists(data, data_format)
    if not path.exists():
        raise UserError(f"{data}: no such file or folder; give --data a folder of recordings or a metadata file")
    if not os.access(path, os.R_OK):
        raise UserError(f"{data} cannot be read: check its permissions")
    if path.is_dir():
        return _read_folder(path, data_format)
    return _read_metadata(path, data_format)


def require_usable(corpus: Corpus) -> None:
    """Raise `UserError` for a corpus with fewer than two usable utterances."""
    n_usable = len(corpus.utterances)
    if n_usable < 2:
        message = f"at least 2 usable utterances were expected, got {n_usable} (format {corpus.format})"
        if corpus.skipped:
            first = corpus.skipped[0]
            message += f"; the first of {len(corpus.skipped)} skipped: {first.where}: {first.reason}"
        raise UserError(message)


def is_held_out(utterance: Utterance, percent: float) -> bool:
    """Whether an utterance is for validation: as the corpus states, otherwise decided by a hash of its id."""
    if utterance.split is not None:
        return utterance.split == "validation"
    digest = hashlib.blake2b(utterance.id.encode(), digest_size=8).digest()
    return int.from_bytes(digest) < percent / 100 * 2**64


def _read_two_lists(data: str, data_format: str) -> Corpus:
    """Read `train.txt,val.txt`: two lists that state the split."""
    paths = [Path(part.strip()).expanduser() for part in data.split(",")]
    missing = [str(path) for path in paths if not path.is_file()]
    if len(paths) != 2 or missing:
        raise UserError(
            f"{data}: expected a folder, a file, or two file lists train.txt,val.txt"
            + (f"; no such file: {', '.join(missing)}" if missing else f", got {len(paths)} lists")
        )
    return _read_stated_split(train=paths[0], validation=paths[1], data_format=data_format)


def _read_stated_split(*, train: Path, validation: Path, data_format: str) -> Corpus:
    """Read two metadata files of one format, the first for training, the second held out."""
    name = data_format if data_format != "auto" else _detect_format(train)
    rows: list[tuple[formats.MetadataRow, Split | None]] = [(row, "train") for row in READERS[name](train)]
    rows += [(row, "validation") for row in READERS[name](validation)]
    return _build_corpus(name, source=train, rows=rows)


def _read_folder(folder: Path, data_format: str) -> Corpus:
    """Detect the kind of metadata in a folder and read it."""
    train = folder / "train.txt"
    validation = next((path for path in (folder / "validation.txt", folder / "val.txt") if path.is_file()), None)
    if train.is_file() and validation is not None and data_format in ("auto", "filelist"):
        return _read_stated_split(train=train, validation=validation, data_format=data_format)
    if data_format == "paired":
        return _read_pairs(folder)
    candidates = _metadata_files(folder)
    known = [path for path in candidates if formats.detect_format(path) is not None]
    if data_format == "auto" and not known and formats.has_pairs(folder):
        return _read_pairs(folder)
    # With a stated format any unrecognised file may be meant; else only `metadata` is read, for its error message.
    chosen = known or [path for path in candidates if data_format != "auto" or path.stem.lower() == "metadata"]
    if not chosen:
        raise UserError(f"{folder}: found no metadata; expected {EXPECTED_METADATA}")
    if len(chosen) > 1:
        names = ", ".join(path.name for path in chosen[:5])
        raise UserError(f"{folder}: found several metadata files ({names}); give the one to use with --data")
    return _read_metadata(chosen[0], data_format)


def _metadata_files(folder: Path) -> list[Path]:
    """Return the files named `metadata`; if there are none, every table and list that is not a transcript."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    recordings = {path.stem for path in files if path.suffix.lower() in formats.AUDIO_SUFFIXES}
    tables = [path for path in files if path.suffix.lower() in (".csv", ".tsv", ".txt") and path.stem not in recordings]
    return [path for path in tables if path.stem.lower() == "metadata"] or tables


def _read_pairs(folder: Path) -> Corpus:
    return _build_corpus("paired", source=folder, rows=((row, None) for row in formats.read_pairs(folder)))


def _read_metadata(path: Path, data_format: str) -> Corpus:
    if data_format == "paired":
        raise UserError(f"{path}: the format paired needs a folder of x.wav and x.txt, this is a file")
    name = data_format if data_format != "auto" else _detect_format(path)
    return _build_corpus(name, source=path, rows=((row, None) for row in READERS[name](path)))


def _detect_format(path: Path) -> str:
    """Return the format of a metadata file; an empty one gets any format, since its reader reports that."""
    name = formats.detect_format(path)
    if name is None and next(formats.numbered_lines(path), None) is not None:
        raise UserError(
            f"{path}: the format is not recognised; expected {EXPECTED_METADATA}: state the format with --data_format"
        )
    return name or "ljspeech"


def _build_corpus(name: str, *, source: Path, rows: Iterable[tuple[formats.MetadataRow, Split | None]]) -> Corpus:
    """Sort rows into utterances and skipped entries."""
    utterances: dict[str, Utterance] = {}
    first_rows: dict[str, str] = {}
    skipped = []
    for row, split in rows:
        problem = row.problem or _problem_of(row, first_rows)
        if problem or row.audio_path is None:
            skipped.append(SkippedEntry(row.where, problem))
            continue
        first_rows[row.id] = row.where
        utterances[row.id] = Utterance(row.id, row.audio_path, row.text, row.speaker, split)
    if not utterances and not skipped:
        raise UserError(f"{source} is empty; expected {EXPECTED_METADATA}")
    require_pyav(utterance.audio_path for utterance in utterances.values())
    return Corpus(name, tuple(utterances.values()), tuple(skipped))


def _problem_of(row: formats.MetadataRow, first_rows: dict[str, str]) -> str:
    """Return the reason why a well-formed row cannot be used; empty if it can."""
    if row.id in first_rows:
        return f"duplicate id {row.id!r}, first at {first_rows[row.id]}"
    if not row.text:
        return f"the transcript of {row.id!r} is empty"
    if row.audio_path is None:
        return f"there is no audio file for {row.id!r}"
    return ""
