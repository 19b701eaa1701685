"""MLflow runs on a real server that is killed, started again, or never reached."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.monitoring.exporters.mlflow_runs import artifacts, make_tail, metric_history, runs_of, send
from tests.monitoring.exporters.mlflow_server import MlflowServer
from tests.monitoring.journals import RunFolder

pytestmark = [
    pytest.mark.xdist_group("a store of MLflow"),  # creating a store and starting a server take seconds
    pytest.mark.usefixtures("short_waits"),
]


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition was not met within {seconds} s"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.kill()


def test_a_server_killed_in_mid_run_gets_everything_after_its_restart(run: RunFolder, server: MlflowServer) -> None:
    warnings: list[str] = []
    tail = make_tail(run, warnings.append, uri=server.uri)
    tail.start()
    run.steps(1, 20)
    wait_until(lambda: not tail.is_behind)
    server.kill()
    run.steps(21, 40)
    (run.path / "samples").mkdir()
    (run.path / "samples" / "x.png").write_bytes(b"picture")
    run.evaluation(40, 0.4, samples=[{"id": "a", "sentence": "A.", "file": "samples/x", "recorded": None}])
    wait_until(lambda: warnings)
    assert tail.is_behind and tail.is_alive()
    server.start()
    run.steps(41, 50)
    run.finish(50)
    tail.finish_requested.set()
    tail.join(60)
    assert not tail.is_alive() and not tail.is_behind
    (sent,) = runs_of(run, server.uri)
    assert metric_history(run, sent, "total_loss", server.uri) == [(step, 10 / step) for step in range(1, 51)]
    assert sent.info.status == "FINISHED"
    assert artifacts(run, sent, "samples", server.uri) == {"samples/x.png"}
    assert len(warnings) == 1 and f"{server.uri} cannot be reached" in warnings[0]


def test_records_for_an_unreachable_server_are_sent_by_the_next_session(run: RunFolder, server: MlflowServer) -> None:
    stopped = MlflowServer(run.path)
    run.steps(1, 10)
    warnings: list[str] = []
    tail = make_tail(run, warnings.append, uri=stopped.uri)
    tail.start()
    wait_until(lambda: warnings)
    tail.cancel_requested.set()
    tail.join(60)
    assert tail.is_behind
    (sent,) = send(run, uri=server.uri)
    assert len(metric_history(run, sent, "total_loss", server.uri)) == 10


def test_a_password_in_the_uri_is_never_written(run: RunFolder) -> None:
    uri = MlflowServer(run.path).uri.replace("://", "://user:geheim@")
    warnings: list[str] = []
    tail = make_tail(run, warnings.append, uri=uri)
    tail.start()
    wait_until(lambda: warnings)
    tail.cancel_requested.set()
    tail.join(60)
    assert "geheim" not in warnings[0] and "127.0.0.1" in warnings[0]
    for path in (run.path / "companion").iterdir():
        assert "geheim" not in path.name + path.read_text()
