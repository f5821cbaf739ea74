"""A project folder that was renamed, moved or copied; experiments that were deleted; which experiment is meant."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result

from cnnlab.records import RunCreated
from cnnlab.tracking import (
    Journal,
    RunDir,
    correct_locations,
    find_run,
    is_delivered,
    load_progress,
    mlflow_run_id,
    old_locations,
    present_store,
    read,
    resolve,
)
from cnnlab.tracking.progress import save_progress

Cli = Callable[..., Result]
QUICK = ("--epochs", "1", "-s", "data.train_size=128", "-q")


def cnnlab(folder: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "cnnlab", *args], cwd=folder, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="session")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder with one run, all of it in MLflow."""
    project = tmp_path_factory.mktemp("made") / "my project"
    project.mkdir()
    done = cnnlab(project, "train", *QUICK)
    assert done.returncode == 0, done.stderr
    wait_for_delivery(project)
    return project


@pytest.fixture
def project(delivered: Path, tmp_path: Path) -> Path:
    """The same at a place of its own, as if it had been made there."""
    project = tmp_path / "project"
    shutil.copytree(delivered, project)
    correct_locations(store(project))
    (journal,) = project.glob("mlruns/runs/*/journal.jsonl")
    run, known = RunDir(journal.parent), load_progress(RunDir(journal.parent), store(delivered))
    made_for(run, store(project))
    run.delivery_file.unlink()
    save_progress(run, store(project), replace(known, offset=journal.stat().st_size))
    return project


def store(project: Path) -> str:
    return f"sqlite:///{project}/mlruns/mlflow.db"


def wait_for_delivery(project: Path) -> None:
    """A busy machine may take longer than the command waits."""
    os.chdir(project)
    deadline = time.monotonic() + 120
    while not is_delivered(find_run("last")):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def places(project: Path) -> list[str]:
    with sqlite3.connect(project / "mlruns/mlflow.db") as database:
        return [
            row[0]
            for table, column in (
                ("experiments", "artifact_location"),
                ("runs", "artifact_uri"),
                ("logged_models", "artifact_location"),
            )
            for row in database.execute(f"SELECT {column} FROM {table}")
        ]


@pytest.mark.filterwarnings("ignore")
def test_a_renamed_project_goes_on_in_its_new_place_and_the_old_one_stays_away(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    import mlflow

    new = project.rename(tmp_path / "renamed")
    monkeypatch.chdir(new)
    doctor = cli("doctor")
    assert doctor.exit_code == 1
    assert "WRONG  this store was moved; 4 locations of artifacts lead to its old folder, for example " in doctor.stdout
    assert "; cnnlab sync corrects them" in doctor.stdout
    assert cnnlab(new, "train", *QUICK, "--seed", "1").returncode == 0
    wait_for_delivery(new)
    assert not project.exists()
    assert old_locations(store(new)) == []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store(new))
    runs = mlflow.MlflowClient().search_runs(["1"])
    assert len(runs) == 2
    for run in runs:
        assert Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="config.yaml")).exists()
        mlflow.pytorch.load_model(f"runs:/{run.info.run_id}/model")


def test_sync_says_that_it_corrected_a_moved_store(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    new = project.rename(tmp_path / "renamed")
    monkeypatch.chdir(new)
    said = cli("sync").stdout.splitlines()
    assert said[0] == f"{store(new)}: was moved; 4 locations of artifacts were corrected"
    assert said[1].endswith(f"complete in {store(new)}")  # and not in the old store, made again
    assert not project.exists()


def test_a_copy_leads_to_itself_and_the_original_stays_as_it_was(project: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy with a space"
    before = places(project)
    shutil.copytree(project, copy)
    assert correct_locations(store(copy)) == 4
    assert old_locations(store(copy)) == []
    assert places(project) == before
    assert [place.replace("/copy%20with%20a%20space/", "/project/") for place in places(copy)][1:] == before[1:]
    assert places(copy)[0] == f"{copy}/mlruns/0"  # MLflow's own experiment, a plain path


def test_a_database_that_was_moved_alone_leads_to_the_artifacts_that_stayed(project: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (project / "mlruns/0").mkdir()
    shutil.copy(project / "mlruns/mlflow.db", tmp_path / "elsewhere")
    assert correct_locations(f"sqlite:///{tmp_path}/elsewhere/mlflow.db") == 0


def test_what_was_written_to_the_old_place_since_is_found_there(project: Path, tmp_path: Path) -> None:
    new = project.rename(tmp_path / "renamed")
    late = project / "mlruns/artifacts/cnnlab/late/artifacts"
    late.mkdir(parents=True)
    with sqlite3.connect(new / "mlruns/mlflow.db") as database:
        database.execute(
            "INSERT INTO runs (run_uuid, artifact_uri, lifecycle_stage, experiment_id) VALUES ('late', ?, 'active', 1)",
            [late.as_uri()],
        )
    assert correct_locations(store(new)) == 4
    assert late.as_uri() in places(new)
    assert old_locations(store(new)) == []


def test_a_folder_by_two_names_was_not_moved(project: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(project)
    assert old_locations(store(tmp_path / "link")) == []


def test_somebody_elses_places_are_left_alone(project: Path, tmp_path: Path) -> None:
    theirs = ["s3://bucket/artifacts/theirs", "/data/artifacts/3", f"file://{tmp_path}/other/theirs"]
    with sqlite3.connect(project / "mlruns/mlflow.db") as database:
        database.executemany(
            "INSERT INTO experiments (name, artifact_location, lifecycle_stage, workspace) VALUES (?, ?, 'active', ?)",
            [(f"theirs {number}", place, "default") for number, place in enumerate(theirs)],
        )
    new = project.rename(tmp_path / "renamed")
    assert correct_locations(store(new)) == 4
    assert set(theirs) <= set(places(new))


def test_a_run_is_delivered_to_where_its_store_is_now(project: Path, tmp_path: Path) -> None:
    new = project.rename(tmp_path / "renamed")
    os.chdir(new)
    run = find_run("last")
    assert run.created.tracking_uri != store(new)
    assert present_store(run) == store(new)
    for uri in ("none", "http://127.0.0.1:9", f"sqlite:///{new}/mlruns/mlflow.db", f"sqlite:///{tmp_path}/gone/own.db"):
        assert present_store(made_for(run, uri)) == uri


def made_for(run: RunDir, uri: str) -> RunDir:
    first, *rest = read(run.journal_file)[0]
    assert isinstance(first, RunCreated)
    run.journal_file.unlink()
    with Journal(run.journal_file) as journal:
        for record in (replace(first, tracking_uri=uri), *rest):
            journal.write(record)
    return RunDir(run.path)


# deleted in MLflow


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_a_deleted_experiment_is_named_with_its_cure_and_gets_the_run_later(
    project: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(store(project))
    client.delete_experiment("1")
    done = cnnlab(project, "train", *QUICK, "--seed", "1")
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    monkeypatch.chdir(project)
    synced = cli("sync", "last")
    assert synced.exit_code == 1
    assert "MLflow's experiment 'cnnlab' was deleted; to restore it: MLFLOW_TRACKING_URI=" in synced.stderr
    assert (
        "restore --experiment-id 1, then cnnlab sync; new runs can go elsewhere by --experiment-name\n" in synced.stderr
    )
    assert len(synced.stderr) <= 301, "the middle of a line is left out where its paths are long"
    client.restore_experiment("1")
    assert cli("sync", "last").exit_code == 0
    assert len(client.search_runs(["1"])) == 2


@pytest.mark.filterwarnings("ignore")
def test_a_deleted_run_is_named_with_its_cure(project: Path, cli: Cli) -> None:
    from mlflow import MlflowClient

    os.chdir(project)
    run = find_run("last")
    found = mlflow_run_id(run)
    assert found is not None
    MlflowClient(store(project)).delete_run(found)
    with Journal(run.journal_file) as journal:
        journal.write(read(run.journal_file)[0][-1])  # something that is not there yet
    done = cli("sync", "last")
    assert done.exit_code == 1
    assert f"this run was deleted in MLflow; to restore it: MLFLOW_TRACKING_URI={store(project)} mlflow runs restore "
    assert f"--run-id {found}, then cnnlab sync " in done.stderr


# which experiment, which store


def test_the_experiments_name_is_the_flags_then_the_environments_then_our_own(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def experiment(*flags: str) -> str:
        assert cli("train", *QUICK, "--tracking-uri", "none", *flags).exit_code == 0
        return find_run("last").created.experiment

    assert experiment() == "cnnlab"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "unit 3")
    assert experiment() == "unit 3"
    assert experiment("--experiment-name", "unit 4") == "unit 4"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "")
    assert experiment() == "cnnlab"


def test_a_uris_scheme_may_be_in_any_letters() -> None:
    assert resolve("SQLite:///here.db") == f"sqlite:///{Path.cwd()}/here.db"
    assert resolve("HTTP://127.0.0.1:5000") == "http://127.0.0.1:5000"
