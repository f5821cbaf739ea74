"""`cnnlab.train(...)`, `sweep`, `compare` and `load`: from Python the same as by the commands."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import yaml
from click.testing import Result

import cnnlab
from cnnlab.errors import BadInput, InUse
from cnnlab.records import Epoch, RunEnded
from cnnlab.tracking import find_run, last, list_runs, list_studies, read

Cli = Callable[..., Result]

SMALL: dict[str, Any] = {
    "data": {"train_size": 128},
    "model": {"channels": [4], "hidden": [8]},
    "training": {"epochs": 2, "precision": "fp32"},
}
DOTTED = {f"{section}.{key}": value for section, values in SMALL.items() for key, value in values.items()}
FLAGS = [word for path, value in DOTTED.items() for word in ("-s", f"{path}={value}")]


@pytest.fixture(autouse=True)
def _no_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")


def script(code: str) -> tuple[str, str]:
    """What a script of a user's prints, on stdout and on stderr."""
    Path("script.py").write_text(code)
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, timeout=240, check=False)
    return done.stdout, done.stderr


def test_importing_it_and_naming_a_verb_imports_nothing_heavy() -> None:
    said = script(
        "import sys, cnnlab\n"
        "assert not any(name.startswith('cnnlab.') for name in sys.modules)\n"
        "cnnlab.train, cnnlab.sweep, cnnlab.compare, cnnlab.load, cnnlab.Training, cnnlab.Sweep, cnnlab.Comparison\n"
        "print({'torch', 'mlflow', 'optuna', 'matplotlib'} & set(sys.modules))\n"
    )
    assert said == ("set()\n", "")


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="trian"):
        cnnlab.trian  # type: ignore[attr-defined]  # noqa: B018


def test_however_the_config_is_given_the_weights_are_the_commands(cli: Cli) -> None:
    by_command = json.loads(cli("train", *FLAGS, "--json").stdout)
    Path("small.yaml").write_text(yaml.safe_dump(SMALL))
    ways: list[Any] = [SMALL, DOTTED, "small.yaml", Path("small.yaml"), cnnlab.RunConfig.model_validate(SMALL)]
    for config in ways:
        result = cnnlab.train(config)
        assert result.weights_sha256 == by_command["weights_sha256"]
        assert set(result) == set(by_command)
    assert len(list_runs()) == 1 + len(ways)
    assert result["test_accuracy"] == result.test_accuracy
    with pytest.raises(AttributeError, match="accuracy_test"):
        result.accuracy_test  # noqa: B018


def test_what_load_gives_back_has_the_test_accuracy_that_was_measured() -> None:
    from cnnlab.data import load

    result = cnnlab.train(SMALL)
    test = load(find_run("last").created and cnnlab.RunConfig.model_validate(SMALL).data, 0).test
    for run in (result, result.run_id, "last", result.run_dir):
        network = cnnlab.load(run)
        assert not network.training
        with torch.no_grad():
            right = network(test.inputs).argmax(1) == test.targets
        assert right.float().mean().item() == pytest.approx(result.test_accuracy, abs=1e-6)


def test_whoever_stops_iterating_can_go_on_to_the_same_bits() -> None:
    whole = cnnlab.train(SMALL)
    with cnnlab.Training(SMALL) as training:
        for record in training:
            if isinstance(record, Epoch):
                break
    assert training.result.status == "interrupted"
    again = cnnlab.resume("last")
    assert again.status == "finished"
    assert again.run_id == training.result.run_id
    assert again.weights_sha256 == whole.weights_sha256
    assert cnnlab.resume("last") == again, "it has finished"


def test_without_a_with_the_iteration_is_all_it_takes() -> None:
    assert [type(record).__name__ for record in cnnlab.Training(SMALL, run_dir="mine")][-1] == "RunEnded"
    assert find_run("mine").run_id


def test_what_is_wrong_is_said_before_anything_is_written() -> None:
    for wrong in (
        lambda: cnnlab.train({"optimizer.lr": 0}),
        lambda: cnnlab.train({"optimizer": {"lr": 0.1}, "optimizer.lr": 0.2}),
        lambda: cnnlab.sweep(SMALL, {"lr": [0.1, 0.2], "optimizer.lr": [0.1, 0.3]}),
        lambda: cnnlab.train("nothing.yaml"),
        lambda: cnnlab.sweep(SMALL, {"lr": {"low": 1, "high": 0}}),
        lambda: cnnlab.sweep(SMALL, trials=0),
        lambda: cnnlab.sweep(SMALL, seeds=2.5),
        lambda: cnnlab.sweep(SMALL, sampler="best"),
        lambda: cnnlab.sweep(SMALL, study="../elsewhere"),
        lambda: cnnlab.compare(SMALL, optimizers=["sgd"]),
        lambda: cnnlab.compare(SMALL, tunings=0),
        lambda: cnnlab.load("nothing"),
    ):
        with pytest.raises(BadInput):
            wrong()
    assert not Path("mlruns").exists()


def test_the_callers_values_are_left_as_they_are() -> None:
    base = {"optimizer": {"lr": 0.1}}
    optimizer = cnnlab.Training({**base, "optimizer.weight_decay": 0.5}).config.optimizer
    assert optimizer.model_dump(include={"lr", "weight_decay"}) == {"lr": 0.1, "weight_decay": 0.5}
    assert base == {"optimizer": {"lr": 0.1}}


@pytest.mark.usefixtures("one_plot")
def test_the_environment_gives_the_experiments_name_and_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def ours() -> dict[str, str]:  # scikit-learn sets others when it is imported
        return {name: value for name, value in os.environ.items() if name.startswith(("MLFLOW", "OMP", "GOMP", "CUDA"))}

    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "unit 3")
    before = ours()
    cnnlab.train(SMALL)
    cnnlab.sweep(SMALL, ["lr=0.01,0.05"], trials=1, confirm=0, workers=1)
    assert [run.created.experiment for run in (*list_runs(), *list_studies())] == ["unit 3", "unit 3"]
    assert cnnlab.Comparison(SMALL).experiment_name == "unit 3"
    assert cnnlab.Comparison(SMALL, experiment_name="unit 4").experiment_name == "unit 4"
    assert ours() == before
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", " ")
    with pytest.raises(BadInput, match="MLFLOW_EXPERIMENT_NAME: ' ' is not allowed"):
        cnnlab.train(SMALL)


def test_a_run_that_diverged_says_so() -> None:
    result = cnnlab.train({**DOTTED, "optimizer.lr": 1e18})
    assert result.status == "failed"
    assert result.reason


def test_a_script_that_sweeps_in_workers_is_run_once() -> None:
    """It has no `if __name__ == "__main__":`, without which multiprocessing would run it again in each worker."""
    options = "sampler='grid', trials=3, confirm=0, workers=2"
    out, error = script(
        f"import json, cnnlab\nprint(json.dumps(cnnlab.sweep({DOTTED!r}, {{'lr': [0.01, 0.05, 0.1]}}, {options})))\n"
    )
    found = json.loads(out)
    assert found["trials"]["complete"] + found["trials"]["pruned"] == 3, error
    assert found["study"] == list_studies()[0].path.name
    tags = list_studies()[0].created.tags
    assert tags["command"] == "script.py"


def test_in_a_worker_of_a_pool_which_may_start_no_process_everything_runs_in_that_process() -> None:
    out, error = script(
        "import multiprocessing, cnnlab\n"
        f"def train(): return cnnlab.train({{**{DOTTED!r}, 'place.residence': 'stream'}}).weights_sha256\n"
        "def sweep(workers):\n"
        f"    try: return cnnlab.sweep({DOTTED!r}, trials=2, confirm=0, workers=workers).trials['failed']\n"
        "    except cnnlab.errors.BadInput as error: return error\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.Pool(1) as pool:\n"
        "        print(pool.apply(train), pool.apply(sweep, [None]), pool.apply(sweep, [2]))\n"
    )
    expected = cnnlab.train({**DOTTED, "place.residence": "device"}).weights_sha256
    assert out.startswith(f"{expected} 0 workers: 2 is not allowed in a daemonic process"), error


@pytest.mark.usefixtures("one_plot")
def test_a_sweep_goes_on_at_the_command_line(cli: Cli) -> None:
    words = ("--search", "lr=0.01,0.05", "--sampler", "grid", "--pruner", "none", "--confirm", "0", "--workers", "1")
    states = []
    options: dict[str, Any] = {"sampler": "grid", "pruner": "none", "confirm": 0, "workers": 1}
    with cnnlab.Sweep(SMALL, ["lr=0.01,0.05"], trials=2, **options) as sweep:
        for state in sweep:
            states.append((state.waiting, state.running, state.finished))
            assert sum(states[-1]) == 2
    assert states[-1] == (0, 0, 2)
    by_command = json.loads(cli("sweep", *FLAGS, *words, "--trials", "2", "--json").stdout)
    assert {**by_command, "seconds": 0} == {**sweep.result, "seconds": 0}
    assert len(list_studies()) == 1


def test_a_comparison_goes_on_at_the_command_line(cli: Cli) -> None:
    size = {"tunings": 1, "trials": 2, "seeds": 2, "workers": 1}
    found = cnnlab.compare(SMALL, over={"model.activation": ["relu", "tanh"]}, **size)
    assert found.question == "model.activation"
    words = [word for name, number in size.items() for word in (f"--{name}", str(number))]
    by_command = json.loads(cli("compare", *FLAGS, "--over", "model.activation=relu,tanh", *words, "--json").stdout)
    assert {**by_command, "seconds": 0} == {**found, "seconds": 0}


def test_ctrl_c_in_a_script_seals_a_checkpoint_first() -> None:
    config = {**DOTTED, "training.epochs": 100_000}
    code = f"import cnnlab\ntry:\n    cnnlab.train({config!r})\nexcept KeyboardInterrupt:\n    print('stopped')\n"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as running:
        deadline = time.monotonic() + 120
        while not list(Path("mlruns").glob("runs/*/checkpoints/*.json")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        assert running.communicate(timeout=120)[0] == "stopped\n"
    ended = last(read(list_runs()[0].journal_file)[0], RunEnded)
    assert ended is not None
    assert ended.status == "interrupted"


def test_the_process_is_left_as_it_was() -> None:
    def state() -> list[object]:
        cudnn = torch.backends.cudnn
        drawn = torch.get_rng_state().tolist(), random.getstate(), numpy.random.get_state()[1].tolist()
        return [*drawn, torch.get_num_threads(), cudnn.deterministic, cudnn.benchmark, torch.is_grad_enabled()]

    torch.set_num_threads(2)
    before = state()
    cnnlab.train({**SMALL, "model": {"name": "cnn", "dropout": 0.5}})
    assert state() == before


def test_a_second_thread_is_refused_while_one_trains() -> None:
    """Both would draw their dropout from PyTorch's one generator, so that neither had the bits of its own."""
    config = {**SMALL, "model": {"name": "cnn", "dropout": 0.5}}
    alone = cnnlab.train(config)
    trained: list[str] = []

    def another() -> None:
        with pytest.raises(InUse, match="another thread of this process trains a network"):
            cnnlab.train(config)
        with pytest.raises(InUse):
            cnnlab.load(alone)
        trained.append("refused")

    with cnnlab.Training(config) as training:
        for record in training:
            if isinstance(record, Epoch) and not trained:
                thread = threading.Thread(target=another)
                thread.start()
                thread.join()
    assert trained == ["refused"]
    assert training.result["weights_sha256"] == alone["weights_sha256"]
    assert cnnlab.train(config)["weights_sha256"] == alone["weights_sha256"], "and it is free again"


def test_it_works_in_a_thread_that_is_told_of_no_signals() -> None:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(cnnlab.train(SMALL)))
    thread.start()
    thread.join()
    assert results[0].status == "finished"


@pytest.mark.filterwarnings("ignore:subprocess:ResourceWarning")  # the courier goes on by itself
def test_what_mlflow_has_not_got_in_time_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnlab.courier.WAIT_SECONDS", 0.0)
    with pytest.warns(UserWarning, match="run cnnlab sync"):
        cnnlab.train(SMALL, tracking_uri=f"sqlite:///{os.getcwd()}/mine.db")


@pytest.mark.usefixtures("one_plot")
def test_the_page_runs_as_it_stands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("cnnlab.search.workers._cores", lambda: [0])  # workers have tests of their own
    page = (Path(__file__).parents[1] / "docs" / "python.md").read_text()
    names: dict[str, Any] = {}
    for block in page.split("```python\n")[1:]:
        code, shown = block.split("```")[0], block.split("```\n\n```\n")[1].split("```")[0]
        exec(code, names)
        said = capsys.readouterr().out
        assert said.split()[0] == shown.split()[0], "as far as it is the same on every machine"
        assert len(said.split()) == len(shown.split())
