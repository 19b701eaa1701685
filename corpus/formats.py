"""Readers of the metadata formats: one per format, each yields the rows of a file or folder."""

from __future__ import annotations

import csv
import functools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from corpus.audio.phone_formats import PHONE_SUFFIXES, needs_pyav
from hparams import UserError

AUDIO_ENDINGS = "wav wave flac ogg oga opus mp3 aiff aif aifc au snd caf w64 rf64 voc sph nist"
AUDIO_SUFFIXES = PHONE_SUFFIXES.union(f".{ending}" for ending in AUDIO_ENDINGS.split())
PATH_COLUMNS = ("path", "audio", "file", "filename", "file_name", "audio_file", "audio_path", "audio_filepath", "wav")
TEXT_COLUMNS = ("text", "transcript", "transcription", "sentence", "normalized_text", "normalised_text")
SPEAKER_COLUMNS = ("speaker", "speaker_id", "speaker_name", "client_id")


@dataclass(frozen=True)
class MetadataRow:
    """One row of metadata at `where` (`file:line`); if it is malformed, `problem` is the reason."""

    where: str
    id: str = ""
    audio_path: Path | None = None
    text: str = ""
    speaker: str | None = None
    problem: str = ""


Reader = Callable[[Path], Iterator[MetadataRow]]


def read_lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 file with any line ends, with or without a byte order mark."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}:{line}: expected UTF-8 text, got byte 0x{data[error.start]:02x} at offset {error.start}: "
            "save the file as UTF-8 (for example with iconv -t utf-8)"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def numbered_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield `file:line` and the text of each line that is not blank."""
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            yield f"{path.name}:{number}", line


def read_ljspeech(path: Path) -> Iterator[MetadataRow]:
    """Read `id|raw|normalised`; the transcript is the normalised text."""
    return _read_ids(path, expected="id|raw text|normalised text")


def read_ruslan(path: Path) -> Iterator[MetadataRow]:
    """Read `id|text`."""
    return _read_ids(path, expected="id|text")


def _read_ids(path: Path, *, expected: str) -> Iterator[MetadataRow]:
    """Read rows with an id in the first column and the transcript in the last."""
    recordings = AudioFolder(path.parent)
    width = expected.count("|") + 1
    for where, line in numbered_lines(path):
        columns = [column.strip() for column in line.split("|")]
        if len(columns) != width:
            yield MetadataRow(where, problem=f"expected {width} columns ({expected}), got {len(columns)}")
        elif not columns[0] or columns[0].startswith(("/", "\\")) or ".." in re.split(r"[/\\]", columns[0]):
            yield MetadataRow(where, problem=f"{columns[0]!r} cannot be an id: expected a name or a relative path")
        else:
            yield MetadataRow(where, columns[0], recordings.find(columns[0]), columns[-1])


def read_file_list(path: Path) -> Iterator[MetadataRow]:
    """Read `path|text` or `path|text|speaker`."""
    recordings = AudioFolder(path.parent)
    for where, line in numbered_lines(path):
        columns = [column.strip() for column in line.split("|")]
        if len(columns) not in (2, 3):
            problem = f"expected path|text or path|text|speaker, got {len(columns)} columns"
            yield MetadataRow(where, problem=problem)
        else:
            speaker = columns[2] if len(columns) == 3 else None
            yield _row_with_path(where, recordings=recordings, audio=columns[0], text=columns[1], speaker=speaker)


def _row_with_path(where: str, *, recordings: AudioFolder, audio: str, text: str, speaker: str | None) -> MetadataRow:
    """Build the row of a recording that is named by its path instead of an id."""
    if not audio:
        return MetadataRow(where, problem="the path of the audio file is empty")
    return MetadataRow(where, id_from_path(audio), recordings.find(audio), text, speaker or None)


def id_from_path(audio: str) -> str:
    """Return the path of a recording without its suffix and without a leading `wavs/`."""
    path = PurePosixPath(audio.replace("\\", "/"))
    path = path.with_suffix("") if path.suffix.lower() in AUDIO_SUFFIXES else path
    return str(path.relative_to("wavs") if path.parts[0] == "wavs" and len(path.parts) > 1 else path)


@dataclass(frozen=True)
class TableHeader:
    """Delimiter, number of columns, and indices of the path, text and speaker columns."""

    delimiter: str
    width: int
    path: int
    text: int
    speaker: int | None

    def split(self, line: str) -> list[str]:
        """Split a row into cells; quotes count only in tables with commas or semicolons."""
        if self.delimiter not in ",;":
            return [cell.strip() for cell in line.split(self.delimiter)]
        return [cell.strip() for cell in next(csv.reader([line], delimiter=self.delimiter, strict=True))]


def parse_header(line: str) -> TableHeader | None:
    """Parse the header of a table; `None` unless the line names a path and a text column."""
    for delimiter in "\t,;|":
        names = [name.strip().strip('"').lower() for name in line.split(delimiter)]
        path, text, speaker = (
            next((names.index(known) for known in columns if known in names), None)
            for columns in (PATH_COLUMNS, TEXT_COLUMNS, SPEAKER_COLUMNS)
        )
        if path is not None and text is not None:
            return TableHeader(delimiter, len(names), path, text, speaker)
    return None


def read_table(path: Path) -> Iterator[MetadataRow]:
    """Read a CSV or TSV table whose header names a path and a text column, and optionally a speaker column."""
    lines = numbered_lines(path)
    header = parse_header(next(lines, ("", ""))[1])
    if header is None:
        raise UserError(
            f"{path}: expected a header in the first line, with a path column ({', '.join(PATH_COLUMNS[:3])}, …) and a "
            f"text column ({', '.join(TEXT_COLUMNS[:3])}, …): add one"
        )
    recordings = AudioFolder(path.parent)
    for where, line in lines:
        try:
            cells = header.split(line)
        except csv.Error as error:
            yield MetadataRow(where, problem=f"not a row of a table ({error})")
            continue
        if len(cells) != header.width:
            hint = ": put texts with a delimiter in quotes" if header.delimiter in ",;" else ""
            yield MetadataRow(where, problem=f"expected {header.width} columns, got {len(cells)}{hint}")
            continue
        speaker = None if header.speaker is None else cells[header.speaker]
        audio, text = cells[header.path], cells[header.text]
        yield _row_with_path(where, recordings=recordings, audio=audio, text=text, speaker=speaker)


def read_pairs(folder: Path) -> Iterator[MetadataRow]:
    """Read `x.txt` beside `x.wav` (or any other audio file), in the folder and its subfolders."""
    audio: dict[str, Path] = {}
    texts: dict[str, Path] = {}
    for path in walk_files(folder):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if path.suffix.lower() in AUDIO_SUFFIXES:
            _add_recording(audio, name, path)
        elif path.suffix.lower() == ".txt":
            texts[name] = path
    for name in sorted(audio.keys() | texts.keys()):
        if name not in texts:
            problem = f"no {PurePosixPath(name).name}.txt beside it"
            yield MetadataRow(audio[name].relative_to(folder).as_posix(), problem=problem)
            continue
        where = texts[name].relative_to(folder).as_posix()
        if name not in audio:
            yield MetadataRow(where, problem="no audio file of the same name beside it")
        else:
            text = " ".join(line.strip() for line in read_lines(texts[name])).strip()
            yield MetadataRow(where, name, audio[name], text)


def _add_recording(recordings: dict[str, Path], name: str, path: Path) -> None:
    """Of several files with the same name the first counts, but rather one that needs no PyAV."""
    if name not in recordings or (needs_pyav(recordings[name]) and not needs_pyav(path)):
        recordings[name] = path


def has_pairs(folder: Path) -> bool:
    """Whether any audio file has a transcript beside it."""
    return any(
        path.suffix.lower() in AUDIO_SUFFIXES and path.with_suffix(".txt").is_file() for path in walk_files(folder)
    )


def detect_format(path: Path) -> str | None:
    """Return the name of a metadata file's format, judged by its rows; `None` if it is unknown."""
    lines = [line for _, line in numbered_lines(path)]
    if lines and parse_header(lines[0]) is not None:
        return "csv"
    rows = [line.split("|") for line in lines if "|" in line]
    if len(rows) * 2 <= len(lines):
        return None
    if sum(Path(columns[0].strip()).suffix.lower() in AUDIO_SUFFIXES for columns in rows) * 2 > len(rows):
        return "filelist"
    width, _ = Counter(len(columns) for columns in rows).most_common(1)[0]
    return {2: "ruslan", 3: "ljspeech"}.get(width)


class AudioFolder:
    """Finder of the audio files that the metadata in a folder name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, audio: str) -> Path | None:
        """Return the file for an id or a path.

        Searched are `wavs/`, the folder of the metadata, the current folder, and for a bare name every subfolder.
        """
        for start in (self._folder / "wavs", self._folder, Path()):
            path = start / audio
            if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file():
                return path
        id_ = id_from_path(audio)
        path_match = self._by_path.get(f"wavs/{id_}") or self._by_path.get(id_)
        return path_match or (self._by_name.get(id_) if "/" not in audio else None)

    @functools.cached_property
    def _by_path(self) -> dict[str, Path]:
        """Every recording below the folder, by its relative path without the suffix."""
        recordings: dict[str, Path] = {}
        for path in walk_files(self._folder):
            if path.suffix.lower() in AUDIO_SUFFIXES:
                _add_recording(recordings, path.relative_to(self._folder).with_suffix("").as_posix(), path)
        return recordings

    @functools.cached_property
    def _by_name(self) -> dict[str, Path]:
        """Every recording by its bare name; the first if several have the same."""
        recordings: dict[str, Path] = {}
        for path in self._by_path.values():
            recordings.setdefault(path.stem, path)
        return recordings


def walk_files(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder that is not hidden, in a fixed order; each linked folder is visited once."""
    visited = set()
    for parent, subfolders, names in os.walk(folder, followlinks=True):
        real_path = os.path.realpath(parent)
        if real_path in visited:
            subfolders.clear()
            continue
        visited.add(real_path)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(parent, name)
