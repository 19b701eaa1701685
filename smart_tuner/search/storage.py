"""Where a study is kept: a journal in its folder for one host, PostgreSQL for several."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from optuna import Study
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage
from optuna.trial import FrozenTrial
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from files import truncate_torn_line
from hparams import UserError

JOURNAL = "study.journal"
GRACE_IN_HEARTBEATS = 3
LOCK_NUMBER = 7_077_074  # of PostgreSQL's advisory locks: any, but always the same
CONNECT_SECONDS = 10
ONE_WORKER = (
    "--storage sqlite: with several workers SQLite loses races (trials run twice, or crash); "
    "leave --storage out for one host, or use postgresql://"
)
STORAGE_ERRORS = (StorageInternalError, SQLAlchemyError)


@dataclass(frozen=True)
class StudyStorage:
    """`alone` lets one process at a time take on a trial."""

    storage: BaseStorage
    alone: Callable[[], AbstractContextManager[None]]
    beat: Callable[[int], None]  # says that a trial (by its id) is being run
    url: str  # as optuna-dashboard takes it
    knows_the_dead: bool  # by heartbeats; otherwise it has to be found out who is alive


class PatientStorage(RDBStorage):
    """A sign of life that does not come through is no reason to give none any more."""

    def record_heartbeat(self, trial_id: int) -> None:
        with contextlib.suppress(*STORAGE_ERRORS):
            super().record_heartbeat(trial_id)


def _no_beat(trial_id: int) -> None:
    """Whoever lives holds a lock."""


class JournalLock(JournalFileOpenLock):
    """Goes with the process that holds it; whoever gets it first cuts off what a killed one left half-written.

    optuna-dashboard has a lock of its own beside the journal, under another name.
    """

    def __init__(self, journal: Path) -> None:
        super().__init__(str(journal))
        self._journal, self._lock = journal, FileLock(journal.with_name(f".{journal.name}.flock"))

    def acquire(self) -> bool:
        self._lock.acquire()
        truncate_torn_line(self._journal)
        return True

    def release(self) -> None:
        self._lock.release()


def open_storage(
    url: str | None,
    folder: Path,
    *,
    workers: int,
    heartbeat_seconds: int,
    on_stale: Callable[[Study, FrozenTrial], None],
) -> StudyStorage:
    """Every mistake that a person can make with it is said in one line, and the folder is not made before."""
    if url is not None:
        _require_possible(url, workers)
    kept = _postgresql(url, heartbeat_seconds, on_stale) if url and not url.startswith("sqlite") else None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{error.filename}: is no folder; choose another --run_name") from error
    if kept is not None:
        return kept
    return _journal(folder / JOURNAL) if url is None else _sqlite(url, folder)


def _require_possible(url: str, workers: int) -> None:
    scheme = url.partition(":")[0]
    if scheme == "sqlite" and workers > 1:
        raise UserError(ONE_WORKER)
    if scheme == "sqlite" and not _sqlite_file(url):
        raise UserError("--storage sqlite: expected sqlite:///FILE, since a study in memory is lost")
    if scheme != "sqlite" and scheme.partition("+")[0] != "postgresql":
        raise UserError(f"--storage {without_password(url)}: expected postgresql://USER:PASSWORD@HOST/DATABASE")


def _journal(path: Path) -> StudyStorage:
    try:
        lock = JournalLock(path)
        backend = JournalFileBackend(str(path), lock_obj=lock)
        lock.acquire()
        lock.release()
        storage = JournalStorage(backend)
    except (ValueError, AssertionError, LookupError, TypeError, IsADirectoryError) as error:  # also of another Optuna
        raise UserError(f"{path}: is damaged ({error}); move it away, or choose another --run_name") from error
    alone = FileLock(path.with_name(".asking.lock"))
    return StudyStorage(storage, lambda: _held(alone), _no_beat, str(path), knows_the_dead=False)


def _sqlite(url: str, folder: Path) -> StudyStorage:
    alone = FileLock(folder / ".asking.lock")
    with explained(url):
        storage = RDBStorage(url)
    return StudyStorage(storage, lambda: _held(alone), _no_beat, url, knows_the_dead=False)


def _sqlite_file(url: str) -> str:
    """ "" for a database in memory."""
    name = make_url(url).database
    return "" if name is None or name == ":memory:" else name


@contextlib.contextmanager
def session_of(url: str | None) -> Iterator[None]:
    """Held by whoever starts workers: one command at a time has a SQLite file."""
    if url is None or not url.startswith("sqlite") or not _sqlite_file(url):
        yield
        return
    lock = FileLock(f"{_sqlite_file(url)}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(ONE_WORKER) from error
    try:
        yield
    finally:
        lock.release()


def _postgresql(url: str, heartbeat_seconds: int, on_stale: Callable[[Study, FrozenTrial], None]) -> StudyStorage:
    with explained(url):
        url = make_url(url).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    options: dict[str, Any] = {"poolclass": NullPool, "connect_args": {"connect_timeout": CONNECT_SECONDS}}

    @contextlib.contextmanager
    def alone() -> Iterator[None]:
        with create_engine(url, **options).connect() as connection:
            connection.execute(text(f"SELECT pg_advisory_lock({LOCK_NUMBER})"))  # which goes with the connection
            yield

    with explained(url), warnings.catch_warnings(), alone():  # of several that begin at once one makes the tables
        warnings.simplefilter("ignore", ExperimentalWarning)
        storage = PatientStorage(
            url,
            engine_kwargs=options,
            heartbeat_interval=heartbeat_seconds,
            grace_period=GRACE_IN_HEARTBEATS * heartbeat_seconds,
            heartbeat_stale_trial_callback=on_stale,
        )
    return StudyStorage(storage, alone, storage.record_heartbeat, url, knows_the_dead=True)


@contextlib.contextmanager
def explained(url: str) -> Iterator[None]:
    """What goes wrong with a database, in one line for the person who named it."""
    shown = f"--storage {without_password(url)}"
    try:
        yield
    except RuntimeError as error:  # how Optuna refuses the tables of another version
        raise UserError(f"{shown}: {_first_line(error)}") from error
    except (OperationalError, ProgrammingError) as error:
        what = _first_line(error.orig if error.orig is not None else error)
        raise UserError(f"{shown}: cannot be reached or used ({what})") from None
    except (ArgumentError, ImportError, ValueError, KeyError, *STORAGE_ERRORS) as error:
        raise UserError(f"{shown}: cannot be used ({type(error).__name__}: {_first_line(error)})") from None


@contextlib.contextmanager
def _held(lock: FileLock) -> Iterator[None]:
    with lock:
        yield


def without_password(url: str) -> str:
    """Nor the user's name, nor options, which may hold one; of what cannot be taken apart nothing is shown."""
    if "://" not in url:
        return url
    try:
        known = make_url(url)
    except (ArgumentError, ValueError):
        return f"{url.partition(':')[0]}://…"
    return URL.create(known.drivername, None, None, known.host, known.port, known.database).render_as_string()


def to_watch(url: str) -> str:
    """As optuna-dashboard takes it; a password it has to find elsewhere."""
    if "://" not in url:
        return url
    known = make_url(url)
    place = {name: value for name, value in known.query.items() if name in ("host", "port")}
    shown = URL.create(known.drivername, known.username, None, known.host, known.port, known.database, place)
    return shown.render_as_string()


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
