"""Metadata of every supported format to a list of utterances; what cannot be used is named by file and line."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from corpus import formats
from hparams import UserError

Split = Literal["train", "validation"]

READERS: dict[str, formats.Reader] = {
    "ljspeech": formats.read_ljspeech,
    "ruslan": formats.read_ruslan,
    "filelist": formats.read_file_list,
    "csv": formats.read_table,
    "paired": formats.read_pairs,
}
EXPECTED = (
    "metadata.csv (id|raw|normalised or id|text), train.txt and validation.txt (path|text), "
    "a CSV or TSV table with a header, or pairs of x.wav and x.txt"
)


@dataclass(frozen=True)
class Utterance:
    """One recording with its transcript; `split` only where the corpus itself states it."""

    id: str
    audio_path: Path
    text: str
    speaker: str | None = None
    split: Split | None = None


@dataclass(frozen=True)
class SkippedEntry:
    """Something that cannot be used: `where` is file:line or an utterance's id."""

    where: str
    reason: str


@dataclass(frozen=True)
class Corpus:
    """What was found: usable utterances in the order of the metadata, and the rest."""

    format: str
    utterances: tuple[Utterance, ...]
    skipped: tuple[SkippedEntry, ...]


def read_corpus(data: str, data_format: str) -> Corpus:
    """Read a folder, a metadata file or `train.txt,val.txt`; `auto` finds the format by looking."""
    if data_format != "auto" and data_format not in READERS:
        raise UserError(f"data_format {data_format!r} was given, one of auto, {', '.join(READERS)} was expected")
    if not data:
        raise UserError("--data is empty; it names a folder of recordings or a metadata file")
    path = Path(data).expanduser()
    if not path.exists() and "," in data:
        return _read_two_lists(data, data_format)
    if not path.exists():
        raise UserError(f"{data}: no such file or folder; --data names a folder of recordings or a metadata file")
    if not os.access(path, os.R_OK):
        raise UserError(f"{data} cannot be read: check its permissions")
    if path.is_dir():
        return _read_folder(path, data_format)
    return _read_metadata(path, data_format)


def require_usable(corpus: Corpus) -> None:
    """Refuse a corpus with fewer than two usable utterances."""
    if len(corpus.utterances) < 2:
        first = f"; the first of {len(corpus.skipped)} skipped: " if corpus.skipped else ""
        reason = f"{corpus.skipped[0].where}: {corpus.skipped[0].reason}" if corpus.skipped else ""
        raise UserError(
            f"at least 2 usable utterances were expected, got {len(corpus.utterances)} (format {corpus.format}){first}"
            f"{reason}"
        )


def is_held_out(utterance: Utterance, percent: float) -> bool:
    """Whether an utterance is for validation: as the corpus states, else by the hash of its id alone."""
    if utterance.split is not None:
        return utterance.split == "validation"
    digest = hashlib.blake2b(utterance.id.encode(), digest_size=8).digest()
    return int.from_bytes(digest) < percent / 100 * 2**64


def safe_name(id: str) -> str:
    """Turn an id into a file name; different ids give different names, and an ordinary id is its own name."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}", id) and not id.endswith("."):
        return id
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", id)[:60].strip("_-")
    return f"{readable}~{hashlib.blake2b(id.encode(), digest_size=8).hexdigest()}"


def _read_two_lists(data: str, data_format: str) -> Corpus:
    """Read `train.txt,val.txt`: two lists that state the split."""
    paths = [Path(part.strip()).expanduser() for part in data.split(",")]
    absent = [str(path) for path in paths if not path.is_file()]
    if len(paths) != 2 or absent:
        raise UserError(
            f"{data}: a folder, a file, or two file lists train.txt,val.txt were expected"
            + (f"; no such file: {', '.join(absent)}" if absent else f", got {len(paths)} lists")
        )
    return _read_stated_split(train=paths[0], validation=paths[1], data_format=data_format)


def _read_stated_split(*, train: Path, validation: Path, data_format: str) -> Corpus:
    """Read two metadata files of one format, the first for training, the second held out."""
    name = data_format if data_format != "auto" else _recognised(train)
    rows: list[tuple[formats.Row, Split | None]] = [(row, "train") for row in READERS[name](train)]
    rows += [(row, "validation") for row in READERS[name](validation)]
    return _corpus(name, source=train, rows=rows)


def _read_folder(folder: Path, data_format: str) -> Corpus:
    """Find out how the recordings of a folder are written down, and read them."""
    train, validations = folder / "train.txt", [folder / "validation.txt", folder / "val.txt"]
    validation = next((path for path in validations if path.is_file()), None)
    if train.is_file() and validation is not None and data_format in ("auto", "filelist"):
        return _read_stated_split(train=train, validation=validation, data_format=data_format)
    if data_format == "paired":
        return _read_pairs(folder)
    candidates = _metadata_files(folder)
    recognised = [path for path in candidates if formats.recognise(path) is not None]
    if data_format == "auto" and not recognised and formats.has_pairs(folder):
        return _read_pairs(folder)
    chosen = recognised or [path for path in candidates if data_format != "auto" or path.stem.lower() == "metadata"]
    if not chosen:
        raise UserError(f"{folder}: nothing to read; {EXPECTED} was expected")
    if len(chosen) > 1:
        names = ", ".join(path.name for path in chosen[:5])
        raise UserError(f"{folder}: several metadata files ({names}); name the one to use with --data")
    return _read_metadata(chosen[0], data_format)


def _metadata_files(folder: Path) -> list[Path]:
    """The files of a folder that may be metadata: those named so if there are any, else every table and list."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    recorded = {path.stem for path in files if path.suffix.lower() in formats.AUDIO_SUFFIXES}
    tables = [path for path in files if path.suffix.lower() in (".csv", ".tsv", ".txt") and path.stem not in recorded]
    return [path for path in tables if path.stem.lower() == "metadata"] or tables


def _read_pairs(folder: Path) -> Corpus:
    """Read a folder of recordings with a transcript beside each."""
    return _corpus("paired", source=folder, rows=((row, None) for row in formats.read_pairs(folder)))


def _read_metadata(path: Path, data_format: str) -> Corpus:
    """Read one metadata file."""
    if data_format == "paired":
        raise UserError(f"{path}: a folder of x.wav and x.txt was expected for the format paired, this is a file")
    name = data_format if data_format != "auto" else _recognised(path)
    return _corpus(name, source=path, rows=((row, None) for row in READERS[name](path)))


def _recognised(path: Path) -> str:
    """Name the format of a metadata file or say what was expected."""
    name = formats.recognise(path)
    if name is None and next(formats.numbered_rows(path), None) is not None:
        raise UserError(f"{path}: none of the known formats; {EXPECTED} was expected: state it with --data_format")
    return name or "ljspeech"


def _corpus(name: str, *, source: Path, rows: Iterable[tuple[formats.Row, Split | None]]) -> Corpus:
    """Sort rows into usable utterances and skipped ones."""
    utterances: dict[str, Utterance] = {}
    first_seen: dict[str, str] = {}
    skipped = []
    for row, split in rows:
        problem = row.problem or _problem(row, first_seen)
        if problem or row.audio_path is None:
            skipped.append(SkippedEntry(row.where, problem))
            continue
        first_seen[row.id] = row.where
        utterances[row.id] = Utterance(row.id, row.audio_path, row.text, row.speaker, split)
    if not utterances and not skipped:
        raise UserError(f"{source} is empty; {EXPECTED} was expected")
    return Corpus(name, tuple(utterances.values()), tuple(skipped))


def _problem(row: formats.Row, first_seen: dict[str, str]) -> str:
    """Say why a well-formed row cannot be used, or nothing."""
    if row.id in first_seen:
        return f"duplicate id {row.id!r}, first at {first_seen[row.id]}"
    if not row.text:
        return f"the transcript of {row.id!r} is empty"
    if row.audio_path is None:
        return f"there is no audio file for {row.id!r}"
    return ""
