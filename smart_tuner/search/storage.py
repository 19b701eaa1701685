"""Storage of a study: a journal in its folder for one host, PostgreSQL for several, SQLite for one worker."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna import Study
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage
from optuna.trial import FrozenTrial
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool

from files import truncate_torn_line
from hparams import UserError
from smart_tuner.search.storage_urls import STORAGE_ERRORS, require_supported, storage_errors_as_user_errors

JOURNAL = "study.journal"
TRIAL_LOCK = ".asking.lock"
GRACE_IN_HEARTBEATS = 3
LOCK_NUMBER = 7_077_074  # key of PostgreSQL's advisory lock: arbitrary, but the same for all workers
CONNECT_SECONDS = 10


@dataclass(frozen=True)
class StudyStorage:
    """An open storage, with a lock that lets one worker at a time start a trial."""

    backend: BaseStorage
    trial_lock: Callable[[], AbstractContextManager[object]]
    url: str
    has_heartbeats: bool = False  # otherwise workers hold locks, which show whether they are alive
    record_heartbeat: Callable[[int], None] = lambda trial_id: None


class HeartbeatStorage(RDBStorage):
    """A database whose heartbeat thread survives an outage."""

    def record_heartbeat(self, trial_id: int) -> None:
        with contextlib.suppress(*STORAGE_ERRORS):
            super().record_heartbeat(trial_id)


class JournalLock(JournalFileOpenLock):
    """Lock of the journal that the system releases when its process dies; taking it repairs a torn last line.

    optuna-dashboard locks another file beside the journal.
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
    """Open a storage, or refuse it in one line before the study's folder is created."""
    if url is not None:
        require_supported(url, workers)
    database = _open_postgresql(url, heartbeat_seconds, on_stale) if url and not url.startswith("sqlite") else None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{error.filename}: is no folder; choose another --run_name") from error
    if database is not None:
        return database
    return _open_journal(folder / JOURNAL) if url is None else _open_sqlite(url, folder)


def _open_journal(path: Path) -> StudyStorage:
    try:
        lock = JournalLock(path)
        backend = JournalFileBackend(str(path), lock_obj=lock)
        lock.acquire()
        lock.release()
        storage = JournalStorage(backend)
    except (ValueError, AssertionError, LookupError, TypeError, IsADirectoryError) as error:  # also of another Optuna
        raise UserError(f"{path}: is damaged ({error}); move it away, or choose another --run_name") from error
    trial_lock = FileLock(path.with_name(TRIAL_LOCK))
    return StudyStorage(storage, lambda: trial_lock, str(path))


def _open_sqlite(url: str, folder: Path) -> StudyStorage:
    trial_lock = FileLock(folder / TRIAL_LOCK)
    with storage_errors_as_user_errors(url):
        storage = RDBStorage(url)
    return StudyStorage(storage, lambda: trial_lock, url)


def _open_postgresql(url: str, heartbeat_seconds: int, on_stale: Callable[[Study, FrozenTrial], None]) -> StudyStorage:
    with storage_errors_as_user_errors(url):
        url = make_url(url).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    options: dict[str, Any] = {"poolclass": NullPool, "connect_args": {"connect_timeout": CONNECT_SECONDS}}

    @contextlib.contextmanager
    def trial_lock() -> Iterator[None]:
        with create_engine(url, **options).connect() as connection:
            connection.execute(text(f"SELECT pg_advisory_lock({LOCK_NUMBER})"))  # released with the connection
            yield

    # Under the lock, since only one of several processes that start together may create the tables.
    with storage_errors_as_user_errors(url), warnings.catch_warnings(), trial_lock():
        warnings.simplefilter("ignore", ExperimentalWarning)
        storage = HeartbeatStorage(
            url,
            engine_kwargs=options,
            heartbeat_interval=heartbeat_seconds,
            grace_period=GRACE_IN_HEARTBEATS * heartbeat_seconds,
            heartbeat_stale_trial_callback=on_stale,
        )
    return StudyStorage(storage, trial_lock, url, has_heartbeats=True, record_heartbeat=storage.record_heartbeat)
