"""Where a study is kept: a journal in its folder for one host, PostgreSQL for several."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock
from optuna import Study
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage
from optuna.trial import FrozenTrial
from sqlalchemy import text
from sqlalchemy.exc import ArgumentError, OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from hparams import UserError

JOURNAL = "study.journal"
GRACE_IN_HEARTBEATS = 3
LOCK_NUMBER = 7_077_074  # of PostgreSQL's advisory locks: any, but always the same
CONNECT_SECONDS = 10
STORAGE_ERRORS = (StorageInternalError, SQLAlchemyError)


@dataclass(frozen=True)
class StudyStorage:
    """`alone` lets one process at a time take on a trial."""

    storage: BaseStorage
    alone: Callable[[], AbstractContextManager[None]]
    url: str  # as optuna-dashboard takes it
    knows_the_dead: bool  # by heartbeats; otherwise it has to be found out who is alive


class JournalLock(JournalFileOpenLock):
    """Goes with the process that holds it; whoever gets it first cuts off what a killed one left half-written."""

    def __init__(self, journal: Path) -> None:
        super().__init__(str(journal))
        self._journal, self._lock = journal, FileLock(f"{journal}.lock")

    def acquire(self) -> bool:
        self._lock.acquire()
        _cut_torn_line(self._journal)
        return True

    def release(self) -> None:
        self._lock.release()


def _cut_torn_line(path: Path) -> None:
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            begin = max(0, end - 4096)
            file.seek(begin)
            if (found := file.read(end - begin).rfind(b"\n")) >= 0:
                break
            end = begin
        whole = begin + found + 1 if end else 0
        if whole != file.seek(0, os.SEEK_END):
            file.truncate(whole)


def open_storage(
    url: str | None,
    folder: Path,
    *,
    workers: int,
    heartbeat_seconds: int,
    on_stale: Callable[[Study, FrozenTrial], None],
) -> StudyStorage:
    """Every mistake that a person can make with it is said in one line, and nothing is made before it is found."""
    if url is None:
        return _journal(folder / JOURNAL)
    scheme = urlsplit(url).scheme
    if scheme == "sqlite":
        return _sqlite(url, folder, workers)
    if scheme.partition("+")[0] != "postgresql":
        raise UserError(f"--storage {without_password(url)}: expected postgresql://USER:PASSWORD@HOST/DATABASE")
    return _postgresql(url, heartbeat_seconds, on_stale)


def _journal(path: Path) -> StudyStorage:
    try:
        lock = JournalLock(path)
        backend = JournalFileBackend(str(path), lock_obj=lock)
        lock.acquire()
        lock.release()
        storage = JournalStorage(backend)
    except ValueError as error:
        raise UserError(f"{path}: is damaged ({error}); move it away, or choose another --run_name") from error
    alone = FileLock(path.with_name(".asking.lock"))
    return StudyStorage(storage, lambda: _held(alone), str(path), knows_the_dead=False)


def _sqlite(url: str, folder: Path, workers: int) -> StudyStorage:
    if workers > 1:
        raise UserError(
            "--storage sqlite: with several workers SQLite loses races (trials run twice, or crash); "
            "leave --storage out for one host, or use postgresql://"
        )
    alone = FileLock(folder / ".asking.lock")
    return StudyStorage(_rdb(url), lambda: _held(alone), url, knows_the_dead=False)


def _postgresql(url: str, heartbeat_seconds: int, on_stale: Callable[[Study, FrozenTrial], None]) -> StudyStorage:
    parts = urlsplit(url)
    with_driver = parts._replace(scheme="postgresql+psycopg").geturl()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        storage = _rdb(
            with_driver,
            engine_kwargs={"poolclass": NullPool, "connect_args": {"connect_timeout": CONNECT_SECONDS}},
            heartbeat_interval=heartbeat_seconds,
            grace_period=GRACE_IN_HEARTBEATS * heartbeat_seconds,
            heartbeat_stale_trial_callback=on_stale,
        )

    @contextlib.contextmanager
    def alone() -> Iterator[None]:
        with storage.engine.connect() as connection:  # which PostgreSQL ends, and the lock with it, when we die
            connection.execute(text(f"SELECT pg_advisory_lock({LOCK_NUMBER})"))
            yield

    return StudyStorage(storage, alone, with_driver, knows_the_dead=True)


def _rdb(url: str, **options: object) -> RDBStorage:
    shown = without_password(url)
    try:
        return RDBStorage(url, **options)  # type: ignore[arg-type]
    except RuntimeError as error:  # how Optuna refuses the tables of another version
        raise UserError(
            f"--storage {shown}: {_first_line(error)}; run `optuna storage upgrade` or use another database"
        ) from error
    except (OperationalError, ProgrammingError) as error:
        what = _first_line(error.orig if error.orig is not None else error)
        raise UserError(f"--storage {shown}: cannot be reached or used ({what})") from None
    except (ArgumentError, ImportError, ValueError, *STORAGE_ERRORS) as error:
        raise UserError(f"--storage {shown}: cannot be used ({type(error).__name__}: {_first_line(error)})") from None


@contextlib.contextmanager
def _held(lock: FileLock) -> Iterator[None]:
    with lock:
        yield


def without_password(url: str) -> str:
    """Nor what may hold one."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="").geturl() if parts.netloc else url


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
