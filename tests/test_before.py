"""What the version before wrote is read, shown, gone on with and delivered; `before/make.py` says how it was made."""

import json
import socket
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

Cli = Callable[..., Result]
Process = Callable[..., "subprocess.CompletedProcess[str]"]

BEFORE = Path(__file__).parent / "before"
COMMANDS = {name: text.split() for name, text in json.loads((BEFORE / "commands.json").read_text()).items()}
OUTPUTS: list[dict[str, Any]] = json.loads((BEFORE / "outputs.json").read_text(encoding="utf-8"))
EXPERIMENTS = sorted((BEFORE / "experiments").glob("*.yaml"))


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The old project, unpacked into the present folder."""
    monkeypatch.setenv("COLUMNS", "100")  # as wide as it was then
    for path in (path for path in (BEFORE / "store").rglob("*") if path.is_file()):
        target = tmp_path / "mlruns" / path.relative_to(BEFORE / "store")
        target.parent.mkdir(parents=True, exist_ok=True)
        binary = path.suffix == ".safetensors"
        target.write_bytes(path.read_bytes() if binary else here(path.read_text(encoding="utf-8"), tmp_path).encode())
    for name, target in (("study", tmp_path / "study.db"), ("mlflow", tmp_path / "mlruns/mlflow.db")):
        with sqlite3.connect(target) as database:
            database.executescript(here((BEFORE / f"databases/{name}.sql").read_text(encoding="utf-8"), tmp_path))
        database.close()
    for path in tmp_path.glob("mlruns/runs/*/delivery.json"):  # bytes of a journal that is longer or shorter here
        progress = json.loads(path.read_text())
        size = path.with_name("journal.jsonl").stat().st_size
        path.write_text(json.dumps({uri: {**values, "offset": size} for uri, values in progress.items()}))
    return tmp_path


def here(text: str, project: Path) -> str:
    return text.replace("@PROJECT@", str(project)).replace("@HOST@", socket.gethostname())


def only(pattern: str) -> Path:
    """The one path of a pattern."""
    (path,) = Path("mlruns").glob(pattern)
    return path


def records(folder: Path, kind: str) -> list[dict[str, Any]]:
    """The records of a kind in a journal, read as what they are: lines of JSON."""
    lines = (folder / "journal.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["record"] == kind]


def losses(folder: Path) -> list[float]:
    """The loss of every step."""
    return [loss for steps in records(folder, "steps") for loss in steps["losses"]]


def journals(folder: str) -> dict[Path, bytes]:
    """The journals below a folder of mlruns, byte for byte."""
    return {path: path.read_bytes() for path in Path("mlruns", folder).rglob("journal.jsonl")}


def finished(found: dict[Path, bytes]) -> dict[Path, bytes]:
    """Those of the trainings that had come to their end."""
    return {path: text for path, text in found.items() if b'"weights_sha256": "' in text}


def lost(before: Any, now: Any, path: str = "") -> list[str]:
    """Where a value of before is another one now, or is not there; what is there beside it does not matter."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [line for key in before for line in lost(before[key], now.get(key), f"{path}.{key}")]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        return [line for i, pair in enumerate(zip(before, now, strict=True)) for line in lost(*pair, f"{path}[{i}]")]
    # floats that are computed anew may differ in the last digit from one machine to another
    same = now == (pytest.approx(before, rel=1e-9) if isinstance(before, float) else before)
    return [] if same else [f"{path}: {before!r} before, {now!r} now"]


# read and shown


@pytest.mark.parametrize("output", OUTPUTS, ids=[" ".join(output["words"]) for output in OUTPUTS])
def test_every_run_study_and_comparison_is_shown_as_before(output: dict[str, Any], cli: Cli, project: Path) -> None:
    before = json.loads(here(json.dumps(output["stdout"]), project))
    done = cli(*output["words"])
    assert (done.exit_code, done.stderr) == (0, "")
    if "--json" in output["words"]:
        assert lost(before, json.loads(done.stdout)) == []
    else:
        assert words(done.stdout) == words("\n".join(before))


def words(text: str) -> list[str]:
    """Sorted, for settings of equal importance come in the order of a set of Optuna's, and a setting has moved."""
    return sorted(text.replace("training.threads", "place.threads").replace(",", " ").split())


@pytest.mark.parametrize("file", EXPERIMENTS, ids=[path.stem for path in EXPERIMENTS])
def test_every_setting_of_an_old_experiment_is_understood(file: Path, cli: Cli) -> None:
    done = cli("train", str(file), "--dry-run")
    assert (done.exit_code, done.stderr) == (0, "")
    now = flat(yaml.safe_load(done.stdout))
    before = flat(yaml.safe_load((file.with_name(file.name.partition(".")[0] + ".resolved.yaml")).read_text()))
    # what says where a run happens and not what it is may have moved to a section of its own
    moved = {path: now.get(path, now.get(f"place.{path.rpartition('.')[2]}")) for path in before}
    if moved["data.batch_size"] == "auto":  # 64, unless the data are fewer
        moved["data.batch_size"] = 64
    assert moved == before


def flat(config: dict[str, Any]) -> dict[str, Any]:
    sections = {name: values for name, values in config.items() if isinstance(values, dict)}
    rest = {name: values for name, values in config.items() if name not in sections}
    return rest | {f"{name}.{key}": value for name, values in sections.items() for key, value in values.items()}


# gone on with


def go_on_to_the_end(name: str, call: Cli | Process, cli: Cli) -> Path:
    """Resume a run by `call` and compare it with one that was never stopped, bit for bit; its folder."""
    run = only(f"runs/*-{name}-*")
    before = losses(run)
    resumed = call("train", "--resume", run.name, "--json", "-q")
    whole = cli(*COMMANDS[name], "--tracking-uri", "none", "--run-dir", "whole", "--json", "-q")
    now, expected = json.loads(resumed.stdout), json.loads(whole.stdout)
    assert now["status"] == "finished"
    assert now["steps"] == len(losses(run)) == len(losses(Path("whole")))
    assert losses(run)[: len(before)] == before, "what had been said stands"
    again = losses(Path("whole"))[: len(before)]
    if again == before:
        assert losses(run) == losses(Path("whole"))
        for key in ("weights_sha256", "best_epoch", "best_val_accuracy", "test_loss", "test_accuracy"):
            assert now[key] == expected[key]
    else:  # on another kind of processor than the one that began it
        assert again == pytest.approx(before, rel=1e-3)
    return run


def test_a_run_that_was_killed_goes_on_from_its_checkpoint(cli: Cli, caplog: pytest.LogCaptureFixture) -> None:
    run = go_on_to_the_end("killed", cli, cli)
    assert caplog.text == "", "no checkpoint was passed over"
    assert [started["step"] for started in records(run, "run_started")] == [0, 39]


def test_a_run_that_was_delivered_in_part_goes_on_and_is_delivered_once(cli: Cli, process: Process) -> None:
    """The old store has what the run had said when it was interrupted, and a finished run."""
    folders = [go_on_to_the_end("interrupted", process, cli), only("runs/*-finished-*")]
    done = process("sync", *(folder.name for folder in folders), timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    with sqlite3.connect("mlruns/mlflow.db") as database:
        rows = database.execute("SELECT name, status FROM runs").fetchall()
        assert sorted(rows) == sorted((folder.name, "FINISHED") for folder in folders)
        for folder in folders:
            assert delivered_losses(database, folder.name) == losses(folder)
    database.close()


def delivered_losses(database: sqlite3.Connection, run_id: str) -> list[float]:
    query = """SELECT value FROM metrics JOIN runs ON runs.run_uuid = metrics.run_uuid
               WHERE runs.name = ? AND key = 'train/loss' ORDER BY step"""
    return [value for (value,) in database.execute(query, (run_id,))]


@pytest.mark.parametrize("name", ["stopped sweep", "sweep in a database"])
def test_a_sweep_goes_on_to_its_number_of_trials(name: str, cli: Cli, process: Process) -> None:
    before = journals("studies")
    # a process of its own for the database, whose URL is relative to the folder
    done = (
        process(*COMMANDS[name], "--only", "--json", "-q", timeout=300)  # then --search was all that was searched
        if "database" in name
        else cli(*COMMANDS[name], "--json", "-q")
    )
    assert done.stdout, done.stderr
    found, wanted = json.loads(done.stdout), int(COMMANDS[name][COMMANDS[name].index("--trials") + 1])
    folder = Path("mlruns/studies", found["study"])
    assert folder / "journal.jsonl" in before, "it is the study of before"
    assert (found["trials"]["total"], found["trials"]["failed"]) == (wanted, 0)
    assert len(list((folder / "trials").iterdir())) == wanted
    nothing_was_repeated(before)
    best = cli("train", str(folder / "best.yaml"), "--tracking-uri", "none", "--run-dir", "best", "--json", "-q")
    assert json.loads(best.stdout)["status"] == "finished"
    trial = folder / f"trials/{found['best']['trial']:03d}"
    first = trial / "seed-0" if "database" in name else trial
    # not to the last bit on another kind of processor than the one that trained the trial
    assert losses(Path("best"))[:10] == pytest.approx(losses(first)[:10], rel=1e-3)


def nothing_was_repeated(before: dict[Path, bytes]) -> None:
    """What had come to its end is as it was, and what had been said stands."""
    now = journals("studies")
    for path, text in before.items():
        assert now[path].startswith(text[: text.rfind(b"\n") + 1])
    assert {path: now[path] for path in finished(before)} == finished(before)


def test_a_comparison_that_was_done_is_read_and_not_trained_again(cli: Cli) -> None:
    kept = json.loads(only("studies/*/report/compare.json").read_text())
    before = journals("studies")
    found = json.loads(cli(*COMMANDS["comparison"], "--json", "-q").stdout)
    assert lost({key: kept[key] for key in ("optimizers", "pairs", "ranking")}, found) == []
    nothing_was_repeated(before)
    assert set(journals("studies")) == set(before)


def test_a_comparison_that_was_stopped_goes_on(cli: Cli) -> None:
    before = journals("studies")
    found = json.loads(cli(*COMMANDS["stopped comparison"], "--json", "-q").stdout)
    assert Path("mlruns/studies", found["study"], "journal.jsonl") in before, "it is the comparison of before"
    assert {arm["name"]: len(arm["scores"]) for arm in found["optimizers"]} == {"relu": 2, "tanh": 2}
    nothing_was_repeated(before)


# the dead, and all of it in MLflow


def test_the_dead_are_marked_by_doctor(cli: Cli) -> None:
    run = only("runs/*-killed-*")
    steps = len(losses(run))
    done = cli("doctor")
    assert done.exit_code == 1
    assert f"{run.name}: its process had died; marked so. cnnlab train --resume {run.name} goes on" in done.stdout
    found = json.loads(cli("show", run.name, "--json").stdout)
    assert (found["status"], found["steps"]) == ("died", steps)
    assert "its process died after epoch 3 of 40" in found["reason"]
    (ended,) = records(Path("mlruns/studies/kept"), "sweep_ended")
    assert ended["status"] == "died"
    assert "2 of 4 trials" in ended["reason"]


def test_all_of_it_is_delivered_to_a_fresh_store_once(process: Process) -> None:
    everything = {path.parent: json.loads(text.splitlines()[0]) for path, text in journals(".").items()}
    for _ in range(2):
        done = process("sync", "--tracking-uri", "sqlite:///fresh/mlflow.db", timeout=300)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count(": complete in sqlite:///") == len(everything)
        for path in [only("runs/*-finished-*"), *Path("mlruns/studies").glob("kept/**/")]:
            (path / "delivery.json").unlink(missing_ok=True)  # then they are found in the store by their tag
    with sqlite3.connect("fresh/mlflow.db") as database:
        runs = database.execute("SELECT run_uuid, name, status FROM runs").fetchall()
        assert sorted(name for _, name, _ in runs) == sorted(created["run_id"] for created in everything.values())
        for folder, created in everything.items():
            assert delivered_losses(database, created["run_id"]) == losses(folder)
        ids = {name: run for run, name, _ in runs}
        parents = dict(database.execute("SELECT run_uuid, value FROM tags WHERE key = 'mlflow.parentRunId'"))
        assert parents == {ids[c["run_id"]]: ids[c["parent"]] for c in everything.values() if c["parent"]}
        ended = {name.split("-")[2]: status for _, name, status in runs if ids[name] not in parents}
        assert database.execute("SELECT count(*) FROM logged_models").fetchone() == (1,)
    database.close()
    assert ended["finished"] == "FINISHED"
    assert ended["interrupted"] == "KILLED"
    assert (ended["diverged"], ended["killed"]) == ("FAILED", "FAILED")
