"""The command line, called as scripts call it: results on stdout, progress on stderr, exit codes, bad input."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image

import cnnlab.cli
from cnnlab.cli import COMMANDS
from cnnlab.config import read_config
from cnnlab.config.schedules import SCHEDULES
from cnnlab.errors import shortened
from cnnlab.records import Steps
from cnnlab.result import strict_json
from cnnlab.tracking import find_run, is_delivered, mlflow_run_id, read

Cli = Callable[..., Result]
Process = Callable[..., "subprocess.CompletedProcess[str]"]

QUICK = ("--tracking-uri", "none", "--epochs", "1", "-s", "data.train_size=128")

KEYS = """
    run_id mlflow_run_id status dataset model optimizer parameters epochs steps best_epoch train_loss val_loss
    val_accuracy best_val_accuracy test_loss test_accuracy fit_seconds images_per_second device precision seed
    weights_sha256 run_dir
""".split()  # noqa: SIM905  (as the design lists them)


def result_of(done: "subprocess.CompletedProcess[str] | Result") -> dict[str, object]:
    assert done.stdout.count("\n") == 1
    found: dict[str, object] = json.loads(done.stdout)
    return found


# help


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=lambda words: " ".join(words) or "cnnlab")
def test_help_imports_nothing_heavy(command: list[str], process: Process) -> None:
    code = (
        f"import sys; sys.argv = ['cnnlab', *{command!r}, '--help']\n"
        "from cnnlab.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print({'torch', 'mlflow', 'optuna', 'rich', 'matplotlib'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "set()\n"
    assert "Example: cnnlab" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_the_list_of_commands_says_what_each_commands_help_says(command: str, cli: Cli) -> None:
    assert COMMANDS[command] in cli(command, "--help").stdout


def test_the_help_of_a_flag_is_its_fields(cli: Cli) -> None:
    said = " ".join(cli("train", "--help").stdout.split())
    assert "Learning rate, the schedule's peak. [default: 0.05]" in said
    assert f"--schedule NAME Schedule, by name: {', '.join(SCHEDULES)}." in said


# dry run


@pytest.mark.parametrize("command", ["train", "sweep", "compare"])
def test_the_help_lists_the_options_by_section(command: str, cli: Cli) -> None:
    sections = re.split(r"\n(\w+):\n", cli(command, "--help").stdout)
    titles, options = sections[1::2], [re.findall(r"^  (?:-\w, )?(--[\w-]+)", text, re.M) for text in sections[2::2]]
    own = [] if command == "train" else [command.capitalize()]
    assert titles == [*own, "Data", "Model", "Training", "Recording", "Output"]
    found = dict(zip(titles, options, strict=True))
    assert found["Data"] == ["--dataset", "--data-root", "--batch-size"]
    assert {"--optimizer", "--lr", "--schedule", "--epochs", "--device", "--set"} <= set(found["Training"])
    assert {"--tracking-uri", "--experiment-name"} <= set(found["Recording"])
    assert {"--json", "--help"} <= set(found["Output"])
    assert not any("sampler" in option for title in titles[len(own) :] for option in found[title])


def test_a_dry_run_prints_a_config_that_runs_again_as_it_is(cli: Cli) -> None:
    done = cli(
        "train", "--dry-run", "--optimizer", "adam", "--lr", "1e-3", "-s", "model.channels=[8]", "--dropout", "0.2"
    )
    assert done.exit_code == 0
    Path("again.yaml").write_text(done.stdout)
    assert cli("train", "again.yaml", "--dry-run").stdout == done.stdout
    assert "lr: 0.001" in done.stdout
    assert not Path("mlruns").exists()


@pytest.mark.parametrize("command", ["train", "sweep", "compare"])
def test_a_folder_of_images_is_an_experiment(command: str, cli: Cli) -> None:
    for index in range(40):
        for name, grey in (("dark", 0), ("light", 200)):
            picture = Path("pictures", name, f"{index}.png")
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), grey + index).save(picture)
    short = ("pictures/", "-s", "data.resize=8", "--batch-size", "016", "--epochs", "1", "--dry-run")
    done = cli(command, *short)
    assert (done.exit_code, done.stderr) == (0, "")
    if command == "sweep":
        assert "data.batch_size 16, 32\n" in re.sub(r" +", " ", done.stdout).replace(" in ", " "), "58 are trained on"
    if command == "train":
        assert "dataset: folder\n  root: pictures\n  batch_size: 16\n" in done.stdout


def thirty_pictures() -> None:
    for index in range(30):
        picture = Path("pictures", ("dark", "light")[index % 2], f"{index}.png")
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 200 * (index % 2) + index).save(picture)


def test_a_batch_size_that_nobody_typed_fits_the_data_and_is_recorded(cli: Cli) -> None:
    thirty_pictures()
    quick = ("pictures", "-s", "data.resize=8", "--epochs", "1", "--tracking-uri", "none")
    planned = cli("train", "pictures", "--dry-run")
    assert "batch_size: auto\n" in planned.stdout
    Path("planned.yaml").write_text(planned.stdout)
    done = cli("train", "planned.yaml", *quick[1:], "--json")
    assert done.exit_code == 0, done.stderr
    run = find_run("last")
    assert run.created.config["data"]["batch_size"] == 22
    assert "batch_size: 22\n" in run.config_file.read_text()
    assert result_of(done)["steps"] == 1
    typed = cli("train", *quick, "--batch-size", "64")
    assert typed.exit_code == 2
    assert "data.batch_size: 64 is not allowed; it must be from 1 to 22" in typed.stderr


@pytest.mark.usefixtures("one_plot")
def test_a_sweep_and_a_comparison_of_a_few_pictures_have_batches_that_fit(cli: Cli) -> None:
    thirty_pictures()
    quick = ("pictures", "-s", "data.resize=8", "--epochs", "1", "--tracking-uri", "none")
    done = cli("sweep", *quick, "--trials", "2", "--confirm", "0", "--workers", "1", "--json")
    assert done.exit_code == 0, done.stderr
    trial = find_run(str(result_of(done)["best"]["run_id"]))  # type: ignore[index]
    assert trial.created.config["data"]["batch_size"] == 22
    planned = cli("compare", *quick, "--dry-run")
    assert (planned.exit_code, planned.stderr) == (0, "")


# training


def test_json_is_one_object_with_the_promised_keys(process: Process) -> None:
    done = process("train", *QUICK, "--json")
    assert done.returncode == 0, done.stderr
    result = result_of(done)
    assert list(result)[: len(KEYS)] == KEYS
    assert (result["status"], result["epochs"], result["steps"], result["seed"]) == ("finished", 1, 2, 0)
    assert result["parameters"] == 22602
    assert str(result["run_dir"]).endswith(str(result["run_id"]))
    assert "\x1b" not in done.stderr
    assert done.stderr.count("\nepoch ") == 1


def test_json_has_no_number_that_json_does_not_know() -> None:
    nan, inf = float("nan"), float("inf")
    value = {"a": [nan, (inf, 1)], "b": {"c": -inf}, "d": 0.5, "e": "NaN", "f": None}
    assert strict_json(value) == '{"a": [null, [null, 1]], "b": {"c": null}, "d": 0.5, "e": "NaN", "f": null}'
    for path in (Path(cnnlab.cli.__file__).parent).rglob("*.py"):
        assert "json.dumps" not in path.read_text(), "commands print JSON by strict_json"


def test_quiet_says_nothing_and_a_panel_is_the_result(cli: Cli) -> None:
    done = cli("train", *QUICK, "--quiet")
    assert done.stderr == ""
    assert "test accuracy" in done.stdout
    assert "cnnlab sync" in done.stdout


def test_the_same_run_twice_has_the_same_weights_and_so_has_its_config(cli: Cli) -> None:
    one = result_of(cli("train", *QUICK, "--json", "--run-dir", "one"))
    two = result_of(cli("train", "one/config.yaml", "--tracking-uri", "none", "--json"))
    assert one["weights_sha256"] == two["weights_sha256"]
    assert Path("one/journal.jsonl").exists()


def wait_for_delivery() -> None:
    """A command waits 10 s for the courier, which takes longer on a busy machine."""
    deadline = time.monotonic() + 120
    while not is_delivered(find_run("last")) and time.monotonic() < deadline:
        time.sleep(0.2)


def test_a_run_is_in_mlflow_when_the_courier_ends(cli: Cli, process: Process) -> None:
    result = result_of(process("train", "--epochs", "2", "--json", "--experiment-name", "unit 3"))
    wait_for_delivery()
    with sqlite3.connect("mlruns/mlflow.db") as database:
        rows = database.execute("SELECT step, value FROM metrics WHERE key='train/loss' ORDER BY step").fetchall()
        runs = database.execute("SELECT run_uuid, status, name FROM runs").fetchall()
        experiments = {name for (name,) in database.execute("SELECT name FROM experiments")}
    assert [run[1:] for run in runs] == [("FINISHED", find_run("last").created.title)]
    assert result["mlflow_run_id"] in (runs[0][0], None)
    assert "unit 3" in experiments
    journal = [r for r in read(find_run("last").journal_file)[0] if isinstance(r, Steps)]
    assert rows == [(step, loss) for r in journal for step, loss in enumerate(r.losses, start=r.first)]
    assert len(rows) == result["steps"]
    assert {p.name for p in Path("mlruns/artifacts").rglob("*.png")} == {"curves.png", "confusion.png"}
    again = cli("sync")
    assert (again.exit_code, again.stderr) == (0, "")
    with sqlite3.connect("mlruns/mlflow.db") as database:
        assert database.execute("SELECT count(*) FROM metrics WHERE key='train/loss'").fetchone() == (len(rows),)


@pytest.mark.long
def test_a_server_that_is_gone_costs_a_run_nothing_but_a_line(cli: Cli, process: Process) -> None:
    done = process("train", *QUICK[2:], "--tracking-uri", "http://127.0.0.1:9", "--json")
    assert done.returncode == 0
    assert result_of(done)["status"] == "finished"
    assert re.search(r"not everything has been delivered to MLflow yet \(.*\); run cnnlab sync 2", done.stderr)
    assert re.search(r"next +cnnlab sync 2", cli("show", "last").stdout)
    assert cli("sync", "--tracking-uri", "sqlite:///here.db").exit_code == 0
    with sqlite3.connect("here.db") as database:
        assert database.execute("SELECT status FROM runs").fetchall() == [("FINISHED",)]


def test_divergence_is_exit_code_1_and_a_sentence(cli: Cli) -> None:
    done = cli("train", *QUICK[:2], "--lr", "1e30", "--epochs", "3", "--json")
    assert done.exit_code == 1
    result = result_of(done)
    assert result["status"] == "failed"
    assert "diverged at step" in done.stderr
    assert "Traceback" not in done.stderr
    shown = " ".join(cli("show").stdout.replace("│", " ").split())
    assert f"reason {result['reason']} " in shown
    assert "next" not in shown


HUGE = "model.hidden=[65536,65536]"


def test_a_network_larger_than_the_memory_is_exit_code_1_and_one_line(process: Process) -> None:
    done = process("train", "-s", HUGE, "-s", "model.channels=[65536]", "--tracking-uri", "none")
    assert done.returncode == 1
    assert done.stderr.startswith("cnnlab: out of memory before the first step")
    assert done.stderr.count("\n") == 1
    assert not Path("mlruns").exists()


def test_a_result_that_cannot_be_written_is_exit_code_1_and_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cnnlab", "train", "--dry-run"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr.startswith("cnnlab: stdout: No space left on device; make room on its disk, or write elsewhere")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("stderr", ["closed", "full", "read by nobody"])
@pytest.mark.parametrize(("args", "code"), [(QUICK, 0), (("--lr", "0"), 2), ((*QUICK, "--lr", "1e30"), 1)])
def test_a_stderr_that_cannot_be_written_changes_nothing(args: tuple[str, ...], code: int, stderr: str) -> None:
    close = ["sh", "-c", 'exec "$@" 2>&-', "sh"] if stderr == "closed" else []
    command = [*close, sys.executable, "-m", "cnnlab", "train", "--json", *args]
    with read_by_nobody() as nobody, open("/dev/full", "w") as full:
        file = {"closed": None, "full": full, "read by nobody": nobody}[stderr]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=file, text=True, timeout=120)
    assert done.returncode == code
    if code != 2:
        assert result_of(done)["status"] == ("failed" if code else "finished")


def test_a_terminal_that_hangs_up_ends_no_run() -> None:
    master, terminal = os.openpty()
    running = subprocess.Popen(
        [sys.executable, "-m", "cnnlab", "train", "--tracking-uri", "none", "--epochs", "40", "--json"],
        stdout=subprocess.PIPE,
        stderr=terminal,
        text=True,
    )
    os.close(terminal)
    seen = b""
    while b"train loss" not in seen:
        seen += os.read(master, 1000)
    os.close(master)
    stdout, _ = running.communicate(timeout=120)
    assert running.returncode == 0
    assert json.loads(stdout)["status"] == "finished"


@contextmanager
def read_by_nobody() -> Iterator[int]:
    """A pipe's end to write into, whose other end is closed."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


def test_a_reader_who_has_read_enough_is_no_error(cli: Cli) -> None:
    cli("train", *QUICK, "-q")
    for args in (["runs"], ["runs", "--json"], ["show"], ["train", "--dry-run"], ["train", *QUICK, "-q"]):
        with read_by_nobody() as nobody:
            done = subprocess.run(
                [sys.executable, "-m", "cnnlab", *args], stdout=nobody, stderr=subprocess.PIPE, text=True
            )
        assert (done.returncode, done.stderr) == (0, "")


# interrupting and resuming


LONG = (*QUICK[:2], "--epochs", "100", "-s", "data.train_size=500", "--json", "--checkpoint-every", "30")


def start(*args: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "cnnlab", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_epoch(running: "subprocess.Popen[str]", number: int) -> None:
    assert running.stderr is not None
    for line in running.stderr:
        if line.startswith(f"epoch {number}/"):
            return
    raise AssertionError("the run ended early")


@pytest.mark.long
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(cli: Cli) -> None:
    whole = result_of(cli("train", *LONG))
    uninterrupted = losses(str(whole["run_dir"]))
    assert len(uninterrupted) == whole["steps"]
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)):
        folder = f"stopped by {number}"
        running = start("train", *LONG, "--run-dir", folder)
        wait_for_epoch(running, 5)
        blocked = cli("train", "--resume", folder)
        assert (blocked.exit_code, blocked.stdout) == (3, "")
        running.send_signal(number)
        stdout, _ = running.communicate(timeout=60)
        assert running.returncode == code
        if number != signal.SIGKILL:
            assert json.loads(stdout)["status"] == "interrupted"
        resumed = cli("train", "--resume", folder, "--json")
        assert resumed.exit_code == 0, resumed.stderr
        assert result_of(resumed)["weights_sha256"] == whole["weights_sha256"]
        assert losses(folder) == uninterrupted
    again = cli("train", "--resume", folder, "--json")
    assert again.exit_code == 0
    assert "has finished; this is its result" in again.stderr
    assert result_of(again)["weights_sha256"] == whole["weights_sha256"]


def losses(run: str) -> list[float]:
    """The training losses of all steps in a run's journal."""
    return [loss for r in read(Path(run) / "journal.jsonl")[0] if isinstance(r, Steps) for loss in r.losses]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("where", ["prepare", "create_run"])
def test_a_signal_before_the_first_step_is_one_line(number: signal.Signals, code: int, where: str) -> None:
    stopped = (
        "import os, sys, time, cnnlab.run\n"
        f"usual = cnnlab.run.{where}\n"
        "def signalled(*args):\n"
        f"    os.kill(os.getpid(), {number:d}); time.sleep(0.2)\n"
        "    return usual(*args)\n"
        f"cnnlab.run.{where} = signalled\n"
        "from cnnlab.cli import main; main(['train', '--tracking-uri', 'none', '--json'])"
    )
    done = subprocess.run([sys.executable, "-c", stopped], capture_output=True, text=True, timeout=120)
    assert done.returncode == code
    if where == "prepare":
        assert (done.stdout, done.stderr) == ("", "cnnlab: interrupted before the first step; no run was made\n")
        assert not Path("mlruns").exists()
    else:
        assert (result_of(done)["status"], result_of(done)["steps"]) == ("interrupted", 0)
        assert "cnnlab: stopped before its end" in done.stderr


def test_ctrl_c_in_any_command_is_one_line() -> None:
    stopped = (
        "import os, signal, cnnlab.tracking\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a script's background job has it ignored
        "cnnlab.tracking.list_runs = lambda: os.kill(os.getpid(), signal.SIGINT)\n"
        "from cnnlab.cli import main; main(['runs'])"
    )
    done = subprocess.run([sys.executable, "-c", stopped], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "cnnlab: interrupted\n")


def test_a_config_that_was_edited_is_not_gone_on_with(cli: Cli) -> None:
    cli("train", *QUICK, "-q", "--run-dir", "edited")
    journal, config = Path("edited/journal.jsonl"), Path("edited/config.yaml")
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:-1]))  # as if it had not come to its end
    as_made = config.read_text()
    edits = {
        "optimizer.lr": ("lr: 0.05", "lr: 0.5"),
        "model.channels": ("channels: [16, 32]", "channels: [16]"),
        "name": ("name: null", "name: other"),
        "optimizer.name": (
            "name: sgd, lr: 0.05, body_lr_factor: 1.0, weight_decay: 0.0, decoupled_decay: 0.0, momentum: 0.9",
            "name: torch.optim.Rprop, lr: 0.05",
        ),
    }
    for setting, (old, new) in edits.items():
        assert old in as_made
        config.write_text(re.sub(r", nesterov: false,\s+dampening: 0.0", "", as_made.replace(old, new)))
        done = cli("train", "--resume", "edited")
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith(f"cnnlab: {setting}: ")
        assert "make a new run: cnnlab train " in done.stderr
        assert done.stderr.count("\n") == 1
    config.write_text(as_made)
    assert cli("train", "--resume", "edited", "-q", "-s", "place.threads=1").exit_code == 0


def test_a_killed_run_is_marked_and_delivered_as_dead(cli: Cli) -> None:
    running = start("train", *LONG)
    wait_for_epoch(running, 2)
    running.kill()
    running.communicate()
    doctor = cli("doctor")
    assert doctor.exit_code == 1
    assert "its process died; the run is marked as ended; cnnlab train --resume 2" in doctor.stdout
    assert json.loads(cli("show", "--json").stdout)["status"] == "died"
    assert "complete in sqlite" in cli("sync").stdout
    with sqlite3.connect("mlruns/mlflow.db") as database:
        assert database.execute("SELECT status FROM runs").fetchall() == [("KILLED",)]
    assert cli("doctor").exit_code == 0


# looking at runs


def test_runs_and_show_read_the_journals(cli: Cli) -> None:
    assert "no runs in mlruns/runs yet" in cli("runs").stdout
    result = result_of(cli("train", *QUICK, "--json", "--optimizer", "adam"))
    listed = cli("runs").stdout
    assert str(result["run_id"]) in listed
    assert f"{result['test_accuracy']:.4f}" in listed
    assert json.loads(cli("runs", "--json").stdout) == [result]
    for word in (str(result["run_id"])[:15], str(result["run_dir"]), str(Path(str(result["run_dir"])).absolute())):
        assert json.loads(cli("show", word, "--json").stdout) == result
    assert result["config"] == read_config(Path(str(result["run_dir"]), "config.yaml"), {})[0].model_dump(mode="json")
    shown = cli("show", "--plot", "figures").stdout
    assert "optimizer.name=adam" in shown
    assert "train loss" in shown
    assert Path("figures/curves.png").read_bytes().startswith(b"\x89PNG")
    assert Path("figures/confusion.png").read_bytes().startswith(b"\x89PNG")
    Path("file").touch()
    done = cli("show", "--plot", "file")
    assert done.stderr == "cnnlab: --plot: 'file' is not allowed; it must be the name of a folder\n"
    assert (done.exit_code, done.stdout) == (2, "")
    for unusable in ("file/below", "x" * 300):
        done = cli("show", "--plot", unusable)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith(f"cnnlab: {shortened(unusable)}: the figures' folder cannot be made (")
        assert done.stderr.count("\n") == 1


def test_a_path_is_printed_as_it_is(cli: Cli) -> None:
    name = "[b][/i]:cat:"
    done = cli("train", *QUICK, "-q", "--run-dir", name)
    assert (done.exit_code, done.stderr) == (0, "")
    assert f"files          {name} " in done.stdout
    assert f"sync {name} " in cli("show", name).stdout


# bad input

BAD = [
    (["--lr", "0"], "optimizer.lr: 0 is not allowed; it must be greater than 0"),
    (["--lr", "-1"], "optimizer.lr: -1 is not allowed"),
    (["--lr", "nan"], "optimizer.lr: 'nan' is not allowed"),
    (["--lr", ".nan"], "optimizer.lr: nan is not allowed"),
    (["--lr", "fast"], "optimizer.lr: 'fast' is not allowed; it must be a valid number"),
    (["--batch-size", "0"], "data.batch_size: 0 is not allowed"),
    (["--batch-size", "1296"], "data.batch_size: 1296 is not allowed; it must be from 1 to 1295"),
    (["--batch-size", "all"], "data.batch_size: 'all' is not allowed; it must be a valid integer or 'full'"),
    (["--momentum", "1"], "optimizer.momentum: 1 is not allowed; it must be less than 1"),
    (["--momentum", "-0.1"], "optimizer.momentum: -0.1 is not allowed"),
    (["--weight-decay", "-1"], "optimizer.weight_decay: -1 is not allowed"),
    (["--dropout", "1"], "model.dropout: 1 is not allowed; it must be less than 1"),
    (["--epochs", "0"], "training.epochs: 0 is not allowed"),
    (["--epochs", "9" * 20], "training.epochs: 99999999999999999999 is not allowed; it must be less than"),
    (["--resume", ""], "RUN is empty; give a run id"),
    (["--epochs", "1.5"], "training.epochs: 1.5 is not allowed; it must be a valid integer"),
    (["--seed", "-1"], "training.seed: -1 is not allowed"),
    (["--device", "gpu"], "place.device: 'gpu' is not allowed; it must be auto, cpu, cuda, cuda:N or mps; "),
    (["--device", "cuda:99"], "place.device: cuda:99 is not here"),
    (["--precision", "fp16"], "training.precision: 'fp16' is not allowed; it must be 'auto', 'fp32' or 'bf16'"),
    (["--dataset", "mnits"], "did you mean mnist?"),
    (["--model", "resnet"], "did you mean resnet56?"),
    (["--model", "torchvision/alexnet"], "torchvision/alexnet cannot take images of 8x8x1"),
    (["-s", "training.accumulate=9223372036854775808"], "training.accumulate: 9223372036854775808 is not allowed"),
    (["--model", "torchvision/resnet81"], "did you mean torchvision/resnet18?"),
    (["--optimizer", "adm"], "did you mean adam?"),
    (["--optimizer", "Adamx"], "'Adamx' is unknown; it must be one of sgd"),
    (["--optimizer", "torch.optim.Adamx"], "torch.optim has no class 'Adamx'"),
    (["--optimizer", "adam", "--momentum", "0.9"], "optimizer.momentum: adam has no momentum; it takes"),
    (["-s", "optimizer.betas=[0.9, 0.99]"], "optimizer.betas: sgd has no betas"),
    (["--schedule", "cosin"], "did you mean cosine?"),
    (["-s", "data.val_fraction=0"], "data.val_fraction: 0 is not allowed; it must be greater than 0"),
    (["-s", "data.val_fraction=1"], "data.val_fraction: 1 is not allowed; it must be less than 1"),
    (["-s", "data.augment=[flop]"], "did you mean flip?"),
    (["-s", "data.train_size=5000"], "data.train_size: 5000 is not allowed; the training split has 1295 images"),
    (["-s", "model.kernel_size=9", "-s", "model.padding=valid"], "(8 - 9 + 2*0)/1 + 1 = 0"),
    (["--model", "lenet5"], "(4 - 5 + 2*0)/1 + 1 = 0"),
    (["-s", "model.channels=[4, 4, 4, 4]"], "(1 - 2 + 2*0)/2 + 1 = 0"),
    (["-s", "model.channels=[]"], "model.channels: [] is not allowed; it must be a list of at least 1 item"),
    (["-s", "model.channels=[1,"], "model.channels: '[1,' is not a value"),
    (["-s", "model.chanels=[1]"], "did you mean channels?"),
    (["-s", "modle.channels=[1]"], "did you mean model?"),
    (["-s", "channels=[1]"], "did you mean model.channels?"),
    (["-s", "model.channels"], "an assignment has the form PATH=VALUE"),
    (["-s", ".lr=3"], "--set .lr=3: .lr is not a setting"),
    (["-s", "optimizer..lr=3"], "--set optimizer..lr=3: optimizer..lr is not a setting"),
    (["-s", "optimizer.=3"], "--set optimizer.=3: optimizer. is not a setting"),
    (["-s", "model.kernel_size=100001"], "model.kernel_size: 100001 is not allowed; it must be less than or equal to"),
    (["-s", "model.padding=9223372036854775808"], "model.padding: 9223372036854775808 is not allowed"),
    (["-s", "model.stride=9223372036854775808"], "model.stride: 9223372036854775808 is not allowed"),
    (["-s", "training.epochs=1:30"], "training.epochs: '1:30' is not allowed; it must be a valid integer"),
    (["--dataset", "folder", "--data-root", "~nobodyx/y"], "data.root: the home directory in ~nobodyx/y is not known"),
    (["--dataset", "mnist", "--data-root", "~nobodyx/y"], "data.root: the home directory in ~nobodyx/y is not known"),
    (["--dataset", "mnist", "--data-root", "x" * 300], "cannot be opened (File name too long)"),
    (["-s", "training.clip_norm=0"], "training.clip_norm: 0 is not allowed"),
    (["-s", "schedule.warmup_epochs=11"], "schedule.warmup_epochs <= training.epochs must hold, but got 11 > 10"),
    (
        ["-s", "schedule.warmup_epochs=10"],
        "10 is not allowed: the warm-up would take all 210 steps, which leaves none",
    ),
    (["-s", "schedule.max_batch_size=32"], "max_batch_size: 32 is not allowed; it must be at least the batch size at"),
    (["-s", "schedule.warmup_epochs=9.999", "--schedule", "onecycle"], "it must be at most 9.952"),
    (["-s", "optimizer.nesterov=true", "--momentum", "0"], "optimizer.nesterov needs momentum > 0"),
    (["--dataset", "folder"], "data.root: the dataset folder needs --data-root"),
    (
        ["--data-root", "pictures"],
        "data.root: digits is built in and reads no folder; for images of your own",
    ),
    (["--dataset", "shapes", "--data-root", "pictures"], "data.root: shapes is built in and reads no folder"),
    (["folder", "--dataset", "mnist"], "folder: a folder as the experiment stands for --dataset folder --data-root"),
    (["folder", "--data-root", "other"], "leave out --data-root"),
    (["folder"], "folder"),
    (["--batch-size", "1_000"], "data.batch_size: '1_000' is not allowed; it must be a valid integer or 'full'"),
    (["--seed", "0x10"], "training.seed: '0x10' is not allowed; it must be a valid integer"),
    (["-s", "optimizer.nesterov=yes"], "optimizer.nesterov: 'yes' is not allowed; it must be true or false"),
    (["/dev/zero"], "/dev/zero: neither a file nor a pipe"),
    (["--dataset", "folder", "--data-root", "nowhere"], "data.root: nowhere is not a folder"),
    (["nowhere.yaml"], "nowhere.yaml: there is no such file"),
    (["bad.yaml"], "bad.yaml: not valid YAML: line 3"),
    (["twice.yaml"], "twice.yaml: not valid YAML: line 2: the key lr is repeated"),
    (["object.yaml"], "object.yaml: not valid YAML"),
    (["--tracking-uri", "mlruns"], "not a store that MLflow takes"),
    (["--resume", "last"], "last: there are no runs"),
    (["--resume", "2026"], "2026: no run begins so"),
    (["--resume", "last", "--lr", "0.1"], "--resume keeps the run's settings"),
    (["--learning-rate", "0.1"], "--learning-rate: unknown option; did you mean --lr?"),
    (["--warmup", "1"], "did you mean -s schedule.warmup_epochs=?"),
    (["--hidden", "64"], "did you mean -s model.hidden=?"),
    (["--batchsize", "64"], "did you mean --batch-size?"),
    (["--trackinguri", "none"], "did you mean --tracking-uri?"),
    (["folders"], "folders: there is no such file or folder; did you mean folder?"),
    (["--lr", "0.1", "-s", "optimizer.lr=0.2"], "optimizer.lr is given twice, by --lr 0.1 and by -s optimizer.lr=0.2"),
    (["--device", "cpu", "-s", "place.device=cpu"], "place.device is given twice"),
    (["-s", "optimizer.lr=1", "-s", "optimizer={lr: 2}"], "optimizer.lr is given twice"),
    (["--lr", "0.1", "--lr=0.2"], "--lr is given twice; keep one"),
    (["--run-dir", "a", "--run-dir", "b"], "--run-dir is given twice; keep one"),
    (["--unheard-of", "0.1"], "--unheard-of: unknown option; cnnlab train --help lists all options"),
    (["a.yaml", "b.yaml"], "Got unexpected extra argument"),
    (["--run-dir", "file/below"], "--run-dir file/below: cannot be made"),
    (["--run-dir", "file"], "--run-dir: 'file' is not allowed; it must be the name of a folder"),
    (["--run-dir", ""], "--run-dir: '' is not allowed; it must be the name of a folder"),
    (["--run-dir", "x" * 300], "cannot be made (File name too long)"),
]


@pytest.mark.parametrize(("args", "said"), BAD, ids=[" ".join(args) for args, _ in BAD])
def test_bad_input_is_one_line_exit_code_2_and_nothing_written(args: list[str], said: str, cli: Cli) -> None:
    Path("bad.yaml").write_text("optimizer:\n  lr: [1\n")
    Path("twice.yaml").write_text("optimizer:\n  {lr: 1, lr: 2}\n")
    Path("object.yaml").write_text("!!python/object/apply:os.mkdir [built]\n")
    Path("file").write_text("")
    Path("folder").mkdir()
    before = sorted(Path().iterdir())
    done = cli("train", *args)
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert said in done.stderr
    assert done.stderr.startswith("cnnlab: ")
    assert done.stderr.count("\n") == 1
    assert [path for path in sorted(Path().iterdir()) if path.name != "data"] == before


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["trian"], "did you mean train?"),
        (["show", "nothing"], "nothing: no run begins so"),
        (["show", ""], "RUN is empty; give a run id"),
        (["show", "x" * 300], "no run begins so"),
        (["show", "--plot", ""], "--plot: '' is not allowed"),
        (["sync", "nothing"], "nothing: no run begins so"),
        (["ui", "--tracking-uri", "http://127.0.0.1:9"], "open it in a browser: http://127.0.0.1:9/#/experiments?"),
        (["ui", "--port", "0"], "--port"),
        (["--what"], "No such option '--what'"),
    ],
)
def test_bad_input_of_the_other_commands(args: list[str], said: str, cli: Cli) -> None:
    done = cli(*args)
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_traceback_is_never_shown_for_a_broken_picture(cli: Cli) -> None:
    for name in ("a", "b"):
        Path("pictures", name).mkdir(parents=True)
        Path("pictures", name, "1.png").write_bytes(b"no picture")
    done = cli("train", "--dataset", "folder", "--data-root", "pictures")
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert "pictures/a/1.png is not an image" in done.stderr


@pytest.mark.long
def test_the_ui_serves_the_runs_on_loopback(cli: Cli, process: Process) -> None:
    import socket
    import urllib.request

    for experiment in ("unit 2", "unit 3"):  # MLflow's first and second
        cli("train", *QUICK, "-q", "--experiment-name", experiment)
        assert cli("sync", "last").exit_code == 0
    for shadow in ("random.py", "mlflow.py"):
        Path(shadow).write_text("raise RuntimeError('a file of the user was imported')")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = start("ui", "--port", str(port))
    try:
        for _ in range(300):
            try:
                page = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).read()
                break
            except OSError:
                time.sleep(0.5)
        assert b"MLflow" in page
        address = f"http://127.0.0.1:{port}"
        done = process("train", *QUICK[2:], "-q", "--tracking-uri", address, "--experiment-name", "unit 2")
        run = mlflow_run_id(find_run("last"))
        link = f"{address}/#/experiments/1/runs/{run}?workflowType=machine_learning"
        assert done.stdout.splitlines()[-1] == link or "not everything has been delivered to MLflow yet" in done.stderr
        assert cli("sync", "last").exit_code == 0
        shown = cli("show").stdout
        assert shown.splitlines()[-1] == link
        assert "next" not in shown
        with sqlite3.connect("mlruns/mlflow.db") as database:
            assert database.execute("SELECT experiment_id FROM runs WHERE run_uuid = ?", [run]).fetchall() == [(1,)]
    finally:
        server.send_signal(signal.SIGINT)
        said = server.communicate(timeout=30)[1]
    assert f"{address}/#/experiments/2/runs?workflowType=machine_learning" in said  # of the newest run when it began
