"""Storage URLs: messages without their password, the dashboard's argument, one command at a time on a SQLite file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from filelock import FileLock, Timeout
from optuna.exceptions import StorageInternalError
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, OperationalError, ProgrammingError, SQLAlchemyError

from hparams import UserError

STORAGE_ERRORS = (StorageInternalError, SQLAlchemyError)
ONE_WORKER = (
    "--storage sqlite: with several workers SQLite loses races (trials run twice, or crash); "
    "leave --storage out for one host, or use postgresql://"
)


def require_supported(url: str, workers: int) -> None:
    scheme = url.partition(":")[0]
    if scheme == "sqlite" and workers > 1:
        raise UserError(ONE_WORKER)
    if scheme == "sqlite" and not _sqlite_file(url):
        raise UserError("--storage sqlite: expected sqlite:///FILE, since a study in memory is lost")
    if scheme != "sqlite" and scheme.partition("+")[0] != "postgresql":
        raise UserError(f"--storage {redact_url(url)}: expected postgresql://USER:PASSWORD@HOST/DATABASE")


def _sqlite_file(url: str) -> str:
    """Path of the database; empty if it is in memory."""
    name = make_url(url).database
    return "" if name is None or name == ":memory:" else name


@contextlib.contextmanager
def sqlite_lock(url: str | None) -> Iterator[None]:
    """Lock of a SQLite file for the command that starts workers; nothing for other storages."""
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


@contextlib.contextmanager
def storage_errors_as_user_errors(url: str) -> Iterator[None]:
    """Turn errors of a database into one-line messages without its password."""
    option = f"--storage {redact_url(url)}"
    try:
        yield
    except RuntimeError as error:  # Optuna refuses the tables of another version in this way
        raise UserError(f"{option}: {_first_line(error)}") from error
    except (OperationalError, ProgrammingError) as error:
        reason = _first_line(error.orig if error.orig is not None else error)
        raise UserError(f"{option}: cannot be reached or used ({reason})") from None
    except (ArgumentError, ImportError, ValueError, KeyError, *STORAGE_ERRORS) as error:
        raise UserError(f"{option}: cannot be used ({type(error).__name__}: {_first_line(error)})") from None


def redact_url(url: str) -> str:
    """A URL without user, password and options; nothing but the scheme if it cannot be parsed."""
    if "://" not in url:
        return url
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return f"{url.partition(':')[0]}://…"
    return URL.create(parsed.drivername, None, None, parsed.host, parsed.port, parsed.database).render_as_string()


def dashboard_url(url: str) -> str:
    """A URL as optuna-dashboard takes it, without the password, which it must find elsewhere."""
    if "://" not in url:
        return url
    parsed = make_url(url)
    query = {name: value for name, value in parsed.query.items() if name in ("host", "port")}
    return URL.create(
        parsed.drivername, parsed.username, None, parsed.host, parsed.port, parsed.database, query
    ).render_as_string()


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
