from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from files import REPOSITORY
from hparams import UserError
from smart_tuner.search.storage import JOURNAL, JournalLock
from smart_tuner.search.storage_urls import dashboard_url, redact_url, sqlite_lock
from tests.smart_tuner.search.small_study import make_storage, make_study
from tests.support.postgres_server import PostgresServer

ROOT = REPOSITORY


def test_opening_a_study_removes_a_torn_line_of_a_killed_worker(tmp_path: Path) -> None:
    study, _ = make_study(tmp_path)
    study.tell(study.ask(), 0.5)
    whole = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(whole + b'{"op_code":5,"worker')
    reopened, _ = make_study(tmp_path)
    assert reopened.trials[0].value == 0.5
    content = (tmp_path / JOURNAL).read_bytes()
    assert content.startswith(whole) and all(json.loads(line) for line in content.splitlines())


def test_the_next_write_removes_a_torn_line_too(tmp_path: Path) -> None:
    study, _ = make_study(tmp_path)
    trial = study.ask()
    with (tmp_path / JOURNAL).open("ab") as file:  # another worker dies while it writes
        file.write(b'{"op_code":5,"worker' * 500)
    study.tell(trial, 0.25)
    lines = (tmp_path / JOURNAL).read_bytes().split(b"\n")
    assert lines[-1] == b"" and all(json.loads(line) for line in lines[:-1])
    reopened, _ = make_study(tmp_path)
    assert reopened.trials[0].value == 0.25


@pytest.mark.parametrize("content", [b"", b"half", b"whole\n", b"whole\nhalf", b"x" * 10_000, b"w\n" + b"h" * 9_000])
def test_only_bytes_after_the_last_newline_are_removed(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / JOURNAL
    path.write_bytes(content)
    lock = JournalLock(path)
    assert lock.acquire()
    lock.release()
    assert path.read_bytes() == content[: content.rfind(b"\n") + 1]


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).touch()
    code = (
        "import os, sys; from pathlib import Path; from smart_tuner.search.storage import JournalLock;"
        "JournalLock(Path(sys.argv[1])).acquire(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / JOURNAL)], cwd=ROOT, check=False)
    lock = JournalLock(tmp_path / JOURNAL)
    assert lock.acquire()
    lock.release()


def test_a_damaged_journal_is_refused(tmp_path: Path) -> None:
    make_study(tmp_path)
    whole = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(b"no json\n" + whole)
    with pytest.raises(UserError, match=r"study.journal: is damaged .*move it away"):
        make_study(tmp_path)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://user:geheim@host/db", r"mysql://host/db: expected postgresql://"),
        ("nonsense", r"nonsense: expected postgresql://"),
        ("postgresql://user:geheim@127.0.0.1:1/db", r"postgresql\S*://127.0.0.1:1/db: cannot be reached or used"),
        ("postgresql://user:geheim@127.0.0.1:port/db", r"cannot be used"),
        ("postgresql://user:gehe[im@127.0.0.1:1/db", r"cannot be"),
        ("postgresql://user:geheim{x}@127.0.0.1:1/db", r"cannot be"),
    ],
)
def test_an_unusable_storage_is_refused_in_one_line_without_the_password(
    tmp_path: Path, url: str, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        make_storage(tmp_path, url)
    assert "geheim" not in str(caught.value) and "\n" not in str(caught.value)


def test_sqlite_is_for_one_worker(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    with pytest.raises(UserError, match="with several workers SQLite loses races"):
        make_storage(tmp_path, url, workers=2)
    assert not (tmp_path / "study.db").exists()
    study, _ = make_study(tmp_path, url)
    assert [trial.state.name for trial in study.trials] == ["WAITING"]


def test_two_commands_do_not_share_a_sqlite_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    refused = pytest.raises(UserError, match="with several workers SQLite loses races")
    with sqlite_lock(url), refused, sqlite_lock(url):
        pass
    with sqlite_lock(url), sqlite_lock(None), sqlite_lock("postgresql://host/db"):
        pass


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_study_in_memory_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match="expected sqlite:///FILE"):
        make_storage(tmp_path, url)


def test_a_database_of_another_optuna_version_is_refused(tmp_path: Path, postgres: PostgresServer) -> None:
    url = postgres.new_database()
    make_study(tmp_path, url)
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'v9.9.9.a'"))
    engine.dispose()
    with pytest.raises(UserError, match="--storage .*(version|upgrade)") as caught:
        make_storage(tmp_path, url)
    assert "\n" not in str(caught.value)


def test_a_missing_database_is_named(tmp_path: Path, postgres: PostgresServer) -> None:
    with pytest.raises(UserError, match='database "absent" does not exist'):
        make_storage(tmp_path, postgres.url("absent"))


def test_only_postgresql_has_heartbeats(tmp_path: Path, postgres: PostgresServer) -> None:
    assert make_study(tmp_path, postgres.new_database())[1].has_heartbeats
    assert not make_study(tmp_path / "other")[1].has_heartbeats


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://me:geheim@host:5432/db?password=geheim", "postgresql://host:5432/db"),
        ("postgresql://me:ge/heim@host/db", "postgresql://host/db"),
        ("postgresql:///db?user=me&password=geheim", "postgresql:///db"),
        ("postgresql://me:geheim@host:port/db", "postgresql://…"),
        ("logs/study/study.journal", "logs/study/study.journal"),
    ],
)
def test_redacted_urls_contain_no_password(url: str, expected: str) -> None:
    assert redact_url(url) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql+psycopg://me:geheim@host:5432/db?sslpassword=geheim", "postgresql+psycopg://me@host:5432/db"),
        (
            "postgresql+psycopg://me@/db?host=%2Ftmp%2Fpg&password=geheim",
            "postgresql+psycopg://me@/db?host=%2Ftmp%2Fpg",
        ),
        ("logs/study/study.journal", "logs/study/study.journal"),
    ],
)
def test_dashboard_urls_contain_everything_but_the_password(url: str, expected: str) -> None:
    assert dashboard_url(url) == expected
