"""Folders and short waits for tests of exporters."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.monitoring.journals import RunFolder


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("monitoring.journal.tail.FIRST_RETRY_SECONDS", 0.2)
    monkeypatch.setattr("monitoring.journal.tail.POLL_SECONDS", 0.05)


@pytest.fixture(scope="session")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of one MLflow store for all tests."""
    return tmp_path_factory.mktemp("logs")


@pytest.fixture
def run(output: Path, request: pytest.FixtureRequest) -> RunFolder:
    run = RunFolder(output / request.node.name)
    run.start()
    return run
