"""One SQLite store, everything a stage tells about itself, read back through MLflow's own client."""

from __future__ import annotations

import contextlib
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sugar.config import InputError
from sugar.tracking import NullTracker, StoreUnavailable, absolute_uri, flatten, revision_tags, start_run


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch, store):
    monkeypatch.chdir(store)
    for name in ("MLFLOW_RUN_ID", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)


def client(store: Path):
    from mlflow import MlflowClient

    uri = absolute_uri("sqlite:///mlflow.db", store)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def test_importing_the_module_does_not_import_mlflow():
    code = "import sys, sugar.tracking; sys.exit('mlflow' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_parameters_are_flattened():
    params = {"video": {"fps": 8.0, "size": [64, 64]}, "seed": 0, "name": "x", "none": None, "on": True}
    assert flatten(params) == {
        "video.fps": "8.0",
        "video.size": "[64, 64]",
        "seed": "0",
        "name": "x",
        "none": "null",
        "on": "true",
    }


def test_relative_sqlite_files_lie_under_the_root(tmp_path):
    assert absolute_uri("sqlite:///mlflow.db", tmp_path) == f"sqlite:///{tmp_path / 'mlflow.db'}"
    for uri in ("sqlite:////srv/mlflow.db", "http://mlflow.kubeflow:5000", "sqlite:///:memory:"):
        assert absolute_uri(uri, tmp_path) == uri


def test_revision_names_the_commit_and_whether_it_was_edited(tmp_path, monkeypatch):
    monkeypatch.setenv("SUGAR_GIT_REVISION", "baked-into-the-image")
    assert revision_tags(tmp_path)["mlflow.source.git.commit"] == "baked-into-the-image"
    monkeypatch.setenv("SUGAR_GIT_REVISION", "")  # an image that was built without one
    assert revision_tags(tmp_path)["mlflow.source.git.commit"] == "unknown"
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-C", str(tmp_path)]
    (tmp_path / "file").write_text("one")
    for arguments in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *arguments], check=True)
    clean = revision_tags(tmp_path)
    assert len(clean["mlflow.source.git.commit"]) == 40
    assert clean["sugar.git_edited"] == "false"
    (tmp_path / "file").write_text("two")
    assert revision_tags(tmp_path)["sugar.git_edited"] == "true"


def test_a_disabled_tracker_keeps_nothing_but_still_checks(tmp_path):
    with start_run("source", {"seed": 0}, enabled=False, root=tmp_path) as tracker:
        tracker.log_metrics({"rows": 3})
        tracker.log_video("sample", np.zeros((5, 16, 16, 3), np.uint8))
        assert tracker.run_id is None
        assert tracker.environment() == {}
        assert tracker.register(tracker.log_model_folder(tmp_path, "model"), "sugar", "candidate") is None
        with pytest.raises(ValueError, match="metric 'rows' must be a number, got 'three'"):
            tracker.log_metrics({"rows": "three"})  # pyright: ignore[reportArgumentType]
    assert isinstance(tracker, NullTracker)
    assert list(tmp_path.iterdir()) == []


def test_everything_a_stage_tells_is_in_the_store(store):
    model = store / "model"
    (model / "transformer").mkdir(parents=True)
    (model / "transformer" / "weights.safetensors").write_bytes(b"weights")
    (model / "model_index.json").write_text("{}")
    (model / "raw").mkdir()
    (model / "raw" / "weights.safetensors").write_bytes(b"raw")
    frames = np.zeros((5, 16, 16, 3), np.uint8)
    with start_run("pretrain", {"training": {"steps": 3}}, root=store) as tracker:
        for step in range(3):
            tracker.log_metrics({"loss": 1 / (1 + step), "rate": np.float32(0.5)}, step)
        tracker.log_video("samples/step-2", frames, fps=8)
        tracker.log_artifacts(model / "model_index.json", "about")
        tracker.log_dataset("real", "0" * 64, "training", source="data/real", profile={"rows": 7})
        model_id = tracker.log_model_folder(model, "stage1", exclude=("raw",))
        version = tracker.register(model_id, "sugar", "candidate", tags={"dino_score": 0.7})
        with pytest.raises(InputError, match="no such model folder"):
            tracker.log_model_folder(store / "nowhere", "stage1")
    reader = client(store)
    run = reader.get_run(tracker.run_id or "")
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "pretrain"
    assert run.data.params == {"training.steps": "3"}
    assert "mlflow.source.git.commit" in run.data.tags
    losses = reader.get_metric_history(run.info.run_id, "pretrain/loss")
    assert [(point.step, point.value) for point in losses] == [(0, 1.0), (1, 0.5), (2, pytest.approx(1 / 3))]
    files = {file.path for file in reader.list_artifacts(run.info.run_id, "pretrain/samples")}
    assert files == {"pretrain/samples/step-2.mp4", "pretrain/samples/step-2.png"}
    assert run.info.artifact_uri.startswith((store / "mlartifacts").as_uri())
    assert run.inputs.dataset_inputs[0].dataset.name == "real"
    assert [output.model_id for output in run.outputs.model_outputs] == [model_id]
    registered = reader.get_model_version_by_alias("sugar", "candidate")
    assert (registered.version, registered.run_id) == (int(version or 0), run.info.run_id)
    kept = Path(reader.get_logged_model(model_id or "").artifact_location.removeprefix("file://"))
    assert {file.relative_to(kept).as_posix() for file in kept.rglob("*") if file.is_file()} == {
        "model_index.json",
        "transformer/weights.safetensors",
    }


def test_a_run_that_exists_is_adopted_and_left_open(store, monkeypatch):
    reader = client(store)
    with start_run("source", {}, root=store) as first:
        environment = first.environment()
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with start_run("encode", {"seed": 0}, uri="sqlite:///elsewhere.db", root=store) as second:
            second.log_metrics({"clips": 4})
        with pytest.raises(RuntimeError), start_run("pretrain", {"seed": 1}, root=store):
            raise RuntimeError("out of memory")
        assert second.run_id == first.run_id
        assert reader.get_run(first.run_id or "").info.status == "RUNNING"
        monkeypatch.setenv("MLFLOW_RUN_ID", "f" * 32)
        with pytest.raises(InputError, match="has no such run"), start_run("encode", {}, root=store):
            pass
    data = reader.get_run(first.run_id or "").data
    assert data.metrics == {"encode/clips": 4}
    assert data.params == {"seed": "0", "pretrain.seed": "1"}
    assert data.tags["sugar.pretrain.status"] == "FAILED"
    assert not (store / "elsewhere.db").exists()


def test_a_run_ends_as_its_stage_did(store):
    reader = client(store)
    for error, status in ((ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")):
        with contextlib.suppress(error), start_run("ingest", {}, root=store) as tracker:
            tracker.log_metrics({"rows": 1})
            raise error
        run = reader.get_run(tracker.run_id or "")
        assert (run.info.status, run.data.metrics) == (status, {"ingest/rows": 1})


class Away:
    """An MLflow client whose calls fail between two moments."""

    def __init__(self, client) -> None:
        self.client = client
        self.away = False

    def __getattr__(self, name: str):
        from mlflow.exceptions import MlflowException

        def call(*arguments, **named):
            if self.away:
                raise MlflowException("no route to host")
            return getattr(self.client, name)(*arguments, **named)

        return call


def tell(tracker, step: int, folder: Path) -> None:
    tracker.log_metrics({"loss": 1.0}, step)
    tracker.log_video(f"step-{step}", np.zeros((5, 16, 16, 3), np.uint8))
    tracker.log_artifacts(folder / "notes.txt")
    tracker.log_dataset(f"data-{step}", "0" * 64, "training")


def test_a_store_that_goes_away_ends_nothing_and_gets_everything_when_it_is_back(store, caplog, tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with start_run("pretrain", {}, root=store) as tracker:
        client_ = tracker.client = Away(tracker.client)  # pyright: ignore[reportAttributeAccessIssue]
        client_.away = True
        for step in (1, 2):
            tell(tracker, step, tmp_path)
        deadline = time.monotonic() + 60
        while caplog.text.count("the store is away (no route to host)") < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        client_.away = False
        tell(tracker, 3, tmp_path)
    reader, run_id = client(store), tracker.run_id or ""
    assert caplog.text.count("the store is away") == 2  # numbers, files: once each
    assert [point.step for point in reader.get_metric_history(run_id, "pretrain/loss")] == [1, 2, 3]
    files = {file.path for file in reader.list_artifacts(run_id, "pretrain")}
    assert files == {f"pretrain/step-{i}.{end}" for i in (1, 2, 3) for end in ("mp4", "png")} | {
        "pretrain/notes.txt"
    }
    assert len(reader.get_run(run_id).inputs.dataset_inputs) == 3


def test_a_store_that_stays_away_is_an_error_in_the_log_alone(store, caplog, tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with start_run("pretrain", {}, root=store) as tracker:
        client_ = tracker.client = Away(tracker.client)  # pyright: ignore[reportAttributeAccessIssue]
        client_.away = True
        tell(tracker, 1, tmp_path)
    assert "1 metric points could not be written" in caplog.text
    assert "4 pictures, videos and files could not be written" in caplog.text
    assert f"run {tracker.run_id} could not be ended as FINISHED: no route to host" in caplog.text


def test_a_file_that_is_not_there_is_told_at_once(store):
    with start_run("pretrain", {}, root=store) as tracker, pytest.raises(FileNotFoundError, match="nowhere"):
        tracker.log_artifacts(store / "nowhere")


def test_a_deleted_experiment_is_an_error_that_names_its_key(store):
    with start_run("source", {}, experiment="gone", root=store):
        pass
    reader = client(store)
    reader.delete_experiment(reader.get_experiment_by_name("gone").experiment_id)
    with (
        pytest.raises(InputError, match=r"tracking\.experiment: 'gone' was deleted"),
        start_run("source", {}, experiment="gone", root=store),
    ):
        pass


def test_a_store_half_made_when_the_disk_was_full_is_made_again(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))  # its tables need some 800 kB
    try:
        with pytest.raises(StoreUnavailable, match="disk"), start_run("source", {}, root=tmp_path):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with start_run("source", {}, root=tmp_path) as tracker:
        pass
    assert client(tmp_path).get_run(tracker.run_id or "").info.status == "FINISHED"
    assert not list(tmp_path.glob(".mlflow*"))


@pytest.mark.parametrize(
    "uri, why",
    [
        ("http://someone:secret@127.0.0.1:1", "cannot be reached (Connection refused)"),
        ("sqlite:///text.db", "file is not a database"),
    ],
)
def test_a_store_that_cannot_be_opened_is_one_line_within_seconds(uri, why, tmp_path, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    (tmp_path / "text.db").write_text("not a database, but longer than the header of one" * 10)
    with pytest.raises(StoreUnavailable) as caught, start_run("source", {}, uri=uri, root=tmp_path):
        pass
    message = str(caught.value)
    assert message.startswith("tracking.uri ") and why in message
    assert "\n" not in message and "secret" not in message
