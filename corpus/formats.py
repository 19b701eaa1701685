"""Readers of metadata: every supported way to write down which recording says what, row by row."""

from __future__ import annotations

import csv
import functools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hparams import UserError

AUDIO_ENDINGS = "wav wave flac ogg oga opus mp3 aiff aif aifc au snd caf w64 rf64 voc sph nist"
AUDIO_SUFFIXES = frozenset(f".{ending}" for ending in AUDIO_ENDINGS.split())
PATH_COLUMNS = ("path", "audio", "file", "filename", "file_name", "audio_file", "audio_path", "audio_filepath", "wav")
TEXT_COLUMNS = ("text", "transcript", "transcription", "sentence", "normalized_text", "normalised_text")
SPEAKER_COLUMNS = ("speaker", "speaker_id", "speaker_name", "client_id")


@dataclass(frozen=True)
class Row:
    """One row of metadata; `problem` says why it cannot be used, if so."""

    where: str
    id: str = ""
    audio_path: Path | None = None
    text: str = ""
    speaker: str | None = None
    problem: str = ""


Reader = Callable[[Path], Iterator[Row]]


def read_lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 file, whatever its line ends, with or without a byte order mark."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}:{line}: UTF-8 text was expected, byte 0x{data[error.start]:02x} at offset {error.start} is not: "
            "save the file as UTF-8 (for example with iconv -t utf-8)"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def numbered_rows(path: Path) -> Iterator[tuple[str, str]]:
    """Yield `file:line` and the text of every line that is not blank."""
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            yield f"{path.name}:{number}", line


def read_ljspeech(path: Path) -> Iterator[Row]:
    """Read `id|raw|normalised`; the normalised transcript is the one used."""
    return _read_ids(path, expected="id|raw text|normalised text")


def read_ruslan(path: Path) -> Iterator[Row]:
    """Read `id|text`."""
    return _read_ids(path, expected="id|text")


def _read_ids(path: Path, *, expected: str) -> Iterator[Row]:
    """Read rows whose first column is an id and whose last one is the transcript."""
    recordings = AudioFolder(path.parent)
    width = expected.count("|") + 1
    for where, line in numbered_rows(path):
        columns = [column.strip() for column in line.split("|")]
        if len(columns) != width:
            yield Row(where, problem=f"{width} columns ({expected}) were expected, got {len(columns)}")
        elif not columns[0] or columns[0].startswith(("/", "\\")) or ".." in re.split(r"[/\\]", columns[0]):
            yield Row(where, problem=f"{columns[0]!r} cannot be an id")
        else:
            yield Row(where, columns[0], recordings.find(columns[0]), columns[-1])


def read_file_list(path: Path) -> Iterator[Row]:
    """Read `path|text` or `path|text|speaker`."""
    recordings = AudioFolder(path.parent)
    for where, line in numbered_rows(path):
        columns = [column.strip() for column in line.split("|")]
        if len(columns) not in (2, 3):
            yield Row(where, problem=f"path|text or path|text|speaker was expected, got {len(columns)} columns")
        else:
            speaker = columns[2] if len(columns) == 3 else None
            yield _row_with_path(where, recordings=recordings, written=columns[0], text=columns[1], speaker=speaker)


def _row_with_path(where: str, *, recordings: AudioFolder, written: str, text: str, speaker: str | None) -> Row:
    """Make the row of a recording that is named by its path."""
    if not written:
        return Row(where, problem="the path of the audio file is empty")
    return Row(where, id_of_path(written), recordings.find(written), text, speaker or None)


def id_of_path(written: str) -> str:
    """The id of a recording that has only a path: the path without its ending and without a leading `wavs/`."""
    path = PurePosixPath(written.replace("\\", "/"))
    path = path.with_suffix("") if path.suffix.lower() in AUDIO_SUFFIXES else path
    return str(path.relative_to("wavs") if path.parts[0] == "wavs" and len(path.parts) > 1 else path)


@dataclass(frozen=True)
class Header:
    """Where the columns of a table with a header are."""

    delimiter: str
    width: int
    path: int
    text: int
    speaker: int | None

    def split(self, line: str) -> list[str]:
        """Split a row of the table; only comma and semicolon tables know quotes."""
        if self.delimiter not in ",;":
            return [cell.strip() for cell in line.split(self.delimiter)]
        return [cell.strip() for cell in next(csv.reader([line], delimiter=self.delimiter, strict=True))]


def header_of(line: str) -> Header | None:
    """Recognise the header of a table by the names of its columns."""
    for delimiter in "\t,;|":
        names = [name.strip().strip('"').lower() for name in line.split(delimiter)]
        path, text, speaker = (
            next((names.index(known) for known in columns if known in names), None)
            for columns in (PATH_COLUMNS, TEXT_COLUMNS, SPEAKER_COLUMNS)
        )
        if path is not None and text is not None:
            return Header(delimiter, len(names), path, text, speaker)
    return None


def read_table(path: Path) -> Iterator[Row]:
    """Read a CSV or TSV table with a header that names a path and a text column, perhaps a speaker column."""
    rows = numbered_rows(path)
    header = header_of(next(rows, ("", ""))[1])
    if header is None:
        raise UserError(
            f"{path}: a header with a path column ({', '.join(PATH_COLUMNS[:3])}, …) and a text column "
            f"({', '.join(TEXT_COLUMNS[:3])}, …) was expected in the first line: add one"
        )
    recordings = AudioFolder(path.parent)
    for where, line in rows:
        try:
            cells = header.split(line)
        except csv.Error as error:
            yield Row(where, problem=f"not a row of a table ({error})")
            continue
        if len(cells) != header.width:
            hint = ": put texts with a delimiter in quotes" if header.delimiter in ",;" else ""
            yield Row(where, problem=f"{header.width} columns were expected, got {len(cells)}{hint}")
            continue
        speaker = None if header.speaker is None else cells[header.speaker]
        written, text = cells[header.path], cells[header.text]
        yield _row_with_path(where, recordings=recordings, written=written, text=text, speaker=speaker)


def read_pairs(folder: Path) -> Iterator[Row]:
    """Read `x.txt` beside `x.wav` (or any other audio file), in the folder and the folders in it."""
    audio: dict[str, Path] = {}
    texts: dict[str, Path] = {}
    for path in files_below(folder):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if path.suffix.lower() in AUDIO_SUFFIXES:
            audio.setdefault(name, path)
        elif path.suffix.lower() == ".txt":
            texts[name] = path
    for name in sorted(audio.keys() | texts.keys()):
        if name not in texts:
            yield Row(
                audio[name].relative_to(folder).as_posix(), problem=f"no {PurePosixPath(name).name}.txt beside it"
            )
        elif name not in audio:
            yield Row(texts[name].relative_to(folder).as_posix(), problem="no audio file of the same name beside it")
        else:
            text = " ".join(line.strip() for line in read_lines(texts[name])).strip()
            yield Row(texts[name].relative_to(folder).as_posix(), name, audio[name], text)


def has_pairs(folder: Path) -> bool:
    """Whether any audio file has a transcript beside it."""
    return any(
        path.suffix.lower() in AUDIO_SUFFIXES and path.with_suffix(".txt").is_file() for path in files_below(folder)
    )


def recognise(path: Path) -> str | None:
    """Name the format of a metadata file by looking at its rows; `None` if it is none of them."""
    lines = [line for _, line in numbered_rows(path)]
    if lines and header_of(lines[0]) is not None:
        return "csv"
    rows = [line.split("|") for line in lines if "|" in line]
    if len(rows) * 2 <= len(lines):
        return None
    if sum(Path(columns[0].strip()).suffix.lower() in AUDIO_SUFFIXES for columns in rows) * 2 > len(rows):
        return "filelist"
    width, _ = Counter(len(columns) for columns in rows).most_common(1)[0]
    return {2: "ruslan", 3: "ljspeech"}.get(width)


class AudioFolder:
    """Finds the recordings that metadata in a folder speak of."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, written: str) -> Path | None:
        """Return the file for an id or a path: in `wavs/`, beside the metadata, from here, or in any subfolder."""
        for start in (self._folder / "wavs", self._folder, Path()):
            path = start / written
            if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file():
                return path
        id = id_of_path(written)
        found = self._by_path.get(f"wavs/{id}") or self._by_path.get(id)
        return found or (self._by_name.get(id) if "/" not in written else None)

    @functools.cached_property
    def _by_path(self) -> dict[str, Path]:
        """Every recording below the folder, by its path in it without the ending."""
        recordings: dict[str, Path] = {}
        for path in files_below(self._folder):
            if path.suffix.lower() in AUDIO_SUFFIXES:
                recordings.setdefault(path.relative_to(self._folder).with_suffix("").as_posix(), path)
        return recordings

    @functools.cached_property
    def _by_name(self) -> dict[str, Path]:
        """The same by the bare name; of several the first."""
        recordings: dict[str, Path] = {}
        for path in self._by_path.values():
            recordings.setdefault(path.stem, path)
        return recordings


def files_below(folder: Path) -> Iterator[Path]:
    """Yield every visible file below a folder in a fixed order; links to folders are followed, but not in circles."""
    seen = set()
    for place, subfolders, names in os.walk(folder, followlinks=True):
        real_place = os.path.realpath(place)
        if real_place in seen:
            subfolders.clear()
            continue
        seen.add(real_place)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(place, name)
