"""MLflow runs in a store beside the run: metrics, tags, artifacts, restarts and deleted runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from monitoring.exporters.mlflow_settings import default_store_uri, subscriber_state_name, without_credentials
from monitoring.exporters.mlflow_store import PARENT_TAG
from monitoring.exporters.system_load import SystemLoad
from tests.monitoring.exporters.mlflow_runs import artifacts, client, make_tail, metric_history, runs_of, send
from tests.monitoring.journals import INTERVENTION, RunFolder, sick_run

pytestmark = [
    pytest.mark.xdist_group("a store of MLflow"),  # creating a store takes seconds
    pytest.mark.usefixtures("short_waits"),
]
RESTART: dict[str, Any] = {
    **{name: value for name, value in INTERVENTION.items() if name not in ("knob", "from", "to")},
    "remedy": "restart",
    "action": "restart",
    "knobs": {"learning_rate_multiplier": 0.1},
    "settings": {"weight_decay": 0.0},
}


def test_a_complete_run_is_sent(run: RunFolder) -> None:
    run.steps(1, 20, update_ratio=None)
    run.evaluation(20, 0.6)
    run.finish(20)
    (run.path / "hparams.json").write_text("{}", encoding="utf-8")
    (run.path / "voice.safetensors").write_bytes(b"weights")
    (sent,) = send(run)
    assert sent.info.status == "FINISHED"
    assert sent.data.params["hparams.learning_rate"] == "0.001"
    assert sent.data.params["choices.device"] == "cpu"
    assert metric_history(run, sent, "total_loss") == [(step, 10 / step) for step in range(1, 21)]
    assert metric_history(run, sent, "composite_tts_score") == [(20, 0.6)]
    assert "update_ratio" not in sent.data.metrics
    assert (sent.data.tags["model"], sent.data.tags["status"]) == ("tacotron2", "finished")
    assert artifacts(run, sent) == {"journal.jsonl", "hparams.json", "voice.safetensors"}
    assert sent.data.metrics["system/system_memory_usage_megabytes"] > 0


def test_verdicts_of_interventions_are_tags(output: Path) -> None:
    (sent,) = send(sick_run(output / "sick"))
    tags = sent.data.tags
    assert (tags["phase"], tags["interventions"], tags["interventions.helped"]) == ("alignment", "1", "1")
    assert (tags["interventions.open"], tags["reason"]) == ("0", "epochs")


def test_samples_are_artifacts_except_the_worst_utterances(run: RunFolder) -> None:
    run.evaluation(10, **run.write_samples(10))
    for name in ("step-00000010-a.png", "step-00000010-a.wav", "worst/a.wav"):
        (run.path / "samples" / name).parent.mkdir(exist_ok=True)
        (run.path / "samples" / name).write_bytes(b"x")
    (sent,) = send(run)
    assert artifacts(run, sent, "samples") == {f"samples/step-00000010-a.{kind}" for kind in ("png", "wav")}


@pytest.mark.parametrize(("policy", "uploaded"), [("all", {"a.pt"}), ("voice", set()), ("none", set())])
def test_the_checkpoints_setting_selects_what_is_uploaded(run: RunFolder, policy: str, uploaded: set[str]) -> None:
    (run.path / "checkpoints").mkdir()
    (run.path / "checkpoints" / "a.pt").write_bytes(b"weights")
    (run.path / "voice.safetensors").write_bytes(b"weights")
    for name in ("a.pt", "gone.pt"):
        run.journal.write("checkpoint", 10, path=f"checkpoints/{name}", kept=[10], signals={"checkpoint_bytes": 7.0})
    run.finish(10)
    (sent,) = send(run, checkpoints=policy)
    assert artifacts(run, sent, "checkpoints") == {f"checkpoints/{name}" for name in uploaded}
    assert ("voice.safetensors" in artifacts(run, sent)) == (policy != "none")


def test_a_resumed_training_continues_the_same_run(run: RunFolder) -> None:
    run.steps(1, 10)
    run.finish(10, "interrupted", "SIGINT")
    (first,) = send(run)
    assert first.info.status == "KILLED"
    run.start("resumed", 10, hparams={"learning_rate": 0.5})
    run.steps(11, 20)
    (second,) = send(run)
    assert second.info.run_id == first.info.run_id and second.info.status == "RUNNING"
    assert [step for step, _ in metric_history(run, second, "total_loss")] == list(range(1, 21))
    assert second.data.params["hparams.learning_rate"] == "0.001"
    assert second.data.tags["now.hparams.learning_rate"] == "0.5"


def test_a_run_is_found_again_without_its_state_file(run: RunFolder) -> None:
    run.steps(1, 10)
    (first,) = send(run)
    for state_file in (run.path / "companion").glob("mlflow*.json"):
        state_file.unlink()
    run.steps(11, 20)
    (second,) = send(run)
    assert second.info.run_id == first.info.run_id
    assert [step for step, _ in metric_history(run, second, "total_loss")] == list(range(1, 21))


def test_each_restart_is_a_child_run(run: RunFolder) -> None:
    run.steps(1, 10)
    run.journal.write("intervention", 10, **RESTART)
    run.steps(11, 20)
    run.journal.write("intervention", 20, **RESTART)
    run.steps(21, 30)
    run.finish(30)
    parent, second, third = send(run)
    assert [step for step, _ in metric_history(run, parent, "total_loss")] == list(range(1, 31))
    assert [step for step, _ in metric_history(run, second, "total_loss")] == list(range(11, 21))
    assert [step for step, _ in metric_history(run, third, "total_loss")] == list(range(21, 31))
    assert {second.data.tags[PARENT_TAG], third.data.tags[PARENT_TAG]} == {parent.info.run_id}
    assert second.data.params == {"knobs.learning_rate_multiplier": "0.1", "hparams.weight_decay": "0.0"}
    assert (third.data.tags["attempt"], third.data.tags["remedy"]) == ("3", "restart")
    assert [one.info.status for one in (parent, second, third)] == ["FINISHED", "KILLED", "FINISHED"]


def test_the_child_of_an_undone_restart_is_ended(run: RunFolder) -> None:
    run.journal.write("intervention", 10, **RESTART)
    run.start("resumed", 5)
    run.steps(6, 9)
    parent, child = send(run)
    assert child.info.status == "KILLED"
    assert metric_history(run, child, "total_loss") == [] and len(metric_history(run, parent, "total_loss")) == 4


def test_an_advised_restart_creates_no_child(run: RunFolder) -> None:
    run.journal.write("intervention", 10, **RESTART, advice=True)
    assert len(send(run)) == 1


def test_the_winning_arm_of_a_race_is_sent(run: RunFolder) -> None:
    run.steps(1, 2)
    run.race(5, from_step=2)
    (sent,) = send(run)
    assert metric_history(run, sent, "total_loss") == [(1, 10.0), (2, 5.0), (3, 2.0), (4, 2.0)]
    assert metric_history(run, sent, "stop_rate") == [(4, 1.0)]


@pytest.mark.parametrize(("status", "mlflow_status"), [("interrupted", "KILLED"), ("failed", "FAILED")])
def test_the_child_of_a_restart_is_continued_after_an_interruption(
    run: RunFolder, status: str, mlflow_status: str
) -> None:
    run.journal.write("intervention", 10, **RESTART)
    run.finish(10, status, "SIGINT")
    assert [one.info.status for one in send(run)] == [mlflow_status, mlflow_status]
    run.start("resumed", 10)
    run.steps(11, 12)
    parent, child = send(run)
    assert (parent.info.status, child.info.status) == ("RUNNING", "RUNNING")
    assert [step for step, _ in metric_history(run, child, "total_loss")] == [11, 12]
    run.finish(12)
    assert [one.info.status for one in send(run)] == ["FINISHED", "FINISHED"]


def test_a_deleted_run_is_replaced_at_the_next_start(run: RunFolder) -> None:
    run.steps(1, 10)
    (first,) = send(run)
    client(run).delete_run(first.info.run_id)
    run.start("resumed", 10)
    run.steps(11, 12)
    (second,) = send(run)
    assert second.info.run_id != first.info.run_id
    assert [step for step, _ in metric_history(run, second, "total_loss")] == [11, 12]


def test_a_run_deleted_during_training_is_replaced(run: RunFolder) -> None:
    run.steps(1, 10)
    run.journal.write("intervention", 10, **RESTART)
    parent, child = send(run)
    client(run).delete_run(child.info.run_id)
    run.steps(11, 12)
    (same,) = send(run)
    assert same.info.run_id == parent.info.run_id
    client(run).delete_run(parent.info.run_id)
    run.steps(13, 14)
    (replacement,) = send(run)
    assert replacement.info.run_id != parent.info.run_id
    assert [step for step, _ in metric_history(run, replacement, "total_loss")] == [13, 14]


def test_a_deleted_experiment_is_replaced_under_another_name(run: RunFolder) -> None:
    run.steps(1, 10)
    (sent,) = send(run, experiment="gone")
    client(run).delete_experiment(sent.info.experiment_id)
    run.start("resumed", 10)
    run.steps(11, 12)
    tail = make_tail(run, experiment="gone")
    tail.finish_requested.set()
    tail.run()
    (replacement,) = runs_of(run, experiment="gone (2)")
    assert (
        client(run).get_experiment(replacement.info.experiment_id).tags["mlflow.experimentKind"]
        == "custom_model_development"
    )
    assert [step for step, _ in metric_history(run, replacement, "total_loss")] == [11, 12]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("http://u:x@h:5000/", "http://h:5000", True),
        ("http://h:5000", "http://h:5001", False),
        ("postgresql://h/db?password=x", "postgresql://h/db?password=y", True),
    ],
)
def test_the_state_name_depends_on_the_address_without_credentials(first: str, second: str, same: bool) -> None:
    assert (subscriber_state_name(first) == subscriber_state_name(second)) == same
    assert without_credentials("postgresql://h/db?user=u&password=geheim") == "postgresql://h/db"


def test_another_store_gets_the_whole_journal(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written to the working directory."""
    monkeypatch.chdir(tmp_path)
    run.steps(1, 10)
    send(run)
    (in_other_store,) = send(run, uri=default_store_uri(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]
    assert len(metric_history(run, in_other_store, "total_loss", default_store_uri(tmp_path))) == 10
    run.steps(11, 12)
    (in_first_store,) = send(run)
    assert len(metric_history(run, in_first_store, "total_loss")) == 12


def test_two_folders_with_the_same_name_are_two_runs(tmp_path: Path, output: Path) -> None:
    first, second = sick_run(tmp_path / "a" / "twin"), sick_run(tmp_path / "b" / "twin")
    uri = default_store_uri(output)
    assert len(send(first, uri=uri)) == 1
    assert len(send(second, uri=uri)) == 2


def test_system_load_is_sampled_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    load = SystemLoad()
    assert load.sample()["system_memory_usage_percentage"] > 0
    assert load.sample() == {}
    monkeypatch.setattr("monitoring.exporters.system_load.SAMPLE_SECONDS", 0.0)
    assert "cpu_utilization_percentage" in load.sample()
