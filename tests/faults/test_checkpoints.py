"""Damaged checkpoints and weights: each bit is noticed and named, and what was sealed before is used."""

import json
import random
import re
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import cnnlab
from cnnlab.data import Dataset, Split
from cnnlab.errors import BadInput, RunFailed
from cnnlab.reading.trained import load_trained
from cnnlab.records import CheckpointSealed, RunEnded
from cnnlab.run import record_run
from cnnlab.tracking import Deliverer, RunDir, last, read
from cnnlab.training import load_latest
from tests.faults.table import repeats, tally
from tests.faults.trainee import STEPS_AN_EPOCH, config, new_run, outcome, prepared, train
from tests.runs import small_dataset

ANY_STEP = 10**9
SMALL = config(epochs=2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run of two epochs, whose directory is not to be changed."""
    run = new_run(tmp_path_factory.mktemp("finished") / "run", SMALL)
    train(run, SMALL)
    return run


@pytest.fixture
def run(finished: RunDir) -> RunDir:
    """The same in the test's folder."""
    return RunDir(Path(shutil.copytree(finished.path, "run")).absolute())


def pair(run: RunDir, newest: int = 1) -> tuple[Path, Path]:
    path = sorted(run.checkpoints.glob("step-*.json"))[-newest]
    return path, path.with_suffix(".safetensors")


def flips(path: Path, count: int, seed: int = 0) -> Iterator[str]:
    """The file with one bit changed, at so many random places."""
    whole, places = path.read_bytes(), random.Random(seed)
    for _ in range(count):
        place, bit = places.randrange(len(whole)), places.randrange(8)
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        yield f"bit {bit} of byte {place}"
    path.write_bytes(whole)


def is_passed_over(run: RunDir, damaged: Path, caplog: pytest.LogCaptureFixture) -> bool:
    """Whether the checkpoint before the newest is used, and one line names the newest."""
    caplog.clear()
    start = load_latest(run.checkpoints, ANY_STEP)
    named = [record.getMessage().startswith(f"checkpoint {damaged.with_suffix('.json')} ") for record in caplog.records]
    return start is not None and start.values["progress"]["step"] == STEPS_AN_EPOCH and named == [True]


def check_flips(run: RunDir, count: int, caplog: pytest.LogCaptureFixture) -> None:
    missed = [
        f"{path.name}: {flip}"
        for path in pair(run)
        for flip in flips(path, count // 2)
        if not is_passed_over(run, path, caplog)
    ]
    tally("a bit of the newest checkpoint flipped", tried=count, held=count - len(missed))
    assert not missed


def test_a_flipped_bit_is_noticed(run: RunDir, caplog: pytest.LogCaptureFixture) -> None:
    check_flips(run, 200, caplog)


@pytest.mark.slow
def test_every_flipped_bit_is_noticed(run: RunDir, caplog: pytest.LogCaptureFixture) -> None:
    check_flips(run, repeats(1000), caplog)


@pytest.mark.parametrize("wide", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_cut_is_noticed(wide: bool, caplog: pytest.LogCaptureFixture) -> None:
    of = config(epochs=2, model__hidden=[2000 if wide else 200])
    run = new_run(Path("run"), of)
    train(run, of)
    missed, cuts = [], 0
    for path in pair(run):
        whole = path.read_bytes()
        for size in {*range(0, len(whole), 4096), len(whole) - 1}:
            path.write_bytes(whole[:size])
            cuts += 1
            if not is_passed_over(run, path, caplog):
                missed.append(f"{path.name} of {size} bytes")
        path.write_bytes(whole)
    tally("the newest checkpoint cut at each 4 KiB and to nothing", tried=cuts, held=cuts - len(missed))
    assert not missed


CHANGES = {
    "momentum": lambda values: values["optimizer"]["param_groups"][0].update(betas=[0.8, 0.999]),
    "lr": lambda values: values["optimizer"]["param_groups"][0].update(lr=0.5),
    "epoch": lambda values: values["progress"].update(epoch=1),
    "step": lambda values: values["progress"].update(step=15),
    "best epoch": lambda values: values["progress"].update(best_epoch=0),
    "class order": lambda values: values["run"].update(classes=["c", "b", "a"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_value_is_noticed(change: str, run: RunDir, caplog: pytest.LogCaptureFixture) -> None:
    path, _ = pair(run)
    sealed = json.loads(path.read_text())
    CHANGES[change](sealed["values"])
    path.write_text(json.dumps(sealed))
    held = is_passed_over(run, path, caplog)
    tally("a value in the newest checkpoint changed", tried=1, held=held)
    assert held


def test_a_run_whose_newest_checkpoint_is_damaged_ends_with_the_same_bits(
    finished: RunDir, caplog: pytest.LogCaptureFixture
) -> None:
    run = stopped_after(2 * STEPS_AN_EPOCH - 3)
    _, tensors = pair(run)
    tensors.write_bytes(tensors.read_bytes()[:-1])
    train(run, every_step())
    held = outcome(run) == outcome_of_all(finished)
    tally("resumed beside a damaged checkpoint, to the same bits", tried=1, held=held)
    assert held
    assert "damaged" in caplog.text


# where a run goes on


def every_step(workers: int = 0) -> Any:
    """A checkpoint after each step, so that a run can go on from any batch."""
    return config(epochs=2, training__checkpoint_every=1, place__workers=workers, place__residence="stream")


def stopped_after(step: int, workers: int = 0) -> RunDir:
    run = new_run(Path("stopped"), every_step(workers))
    records = record_run(prepared(every_step(workers)), run)
    next(record for record in records if isinstance(record, CheckpointSealed) and record.step == step)
    records.close()
    return run


def outcome_of_all(finished: RunDir) -> dict[str, Any]:
    """Of a run that sealed a checkpoint after each step: only that setting differs."""
    expected = outcome(finished)
    expected["checkpoint"][2]["run"]["training.checkpoint_every"] = 1
    return expected


MOMENTS = {"first batch": 1, "middle batch": 4, "last batch": 7, "epoch's edge": 8, "next epoch's first batch": 9}


@pytest.mark.parametrize("workers", [0, 4])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_resume_anywhere_ends_with_the_same_bits(moment: str, workers: int, finished: RunDir) -> None:
    run = stopped_after(MOMENTS[moment])
    train(run, every_step(workers))
    held = outcome(run) == outcome_of_all(finished)
    tally("resumed at a batch or an epoch's edge, with 0 or 4 loader workers", tried=1, held=held)
    assert held


def relabelled(dataset: Dataset) -> Dataset:
    return replace(dataset, classes=dataset.classes[::-1])


def smaller(dataset: Dataset) -> Dataset:
    return replace(dataset, train=dataset.train.take(torch.arange(60)))


def repainted(dataset: Dataset) -> Dataset:
    return replace(dataset, digest="1" * 32)


def larger_images(dataset: Dataset) -> Dataset:
    def padded(split: Split) -> Split:
        return Split(torch.nn.functional.pad(split.inputs, (0, 1)), split.targets)

    return replace(dataset, train=padded(dataset.train), val=padded(dataset.val), test=padded(dataset.test))


OTHER_DATA = {
    relabelled: r"classes\[0\]: .* was made with 'a', but now it is 'c'",
    smaller: "train_size: .* was made with 64, but now it is 60",
    repainted: "dataset_digest: .* was made with '0000.*, but now it is '1111",
    larger_images: r"image_shape\[2\]: .* was made with 8, but now it is 9",
}


@pytest.mark.parametrize("other", OTHER_DATA, ids=lambda other: other.__name__)
def test_a_run_does_not_go_on_with_other_data(other: Any) -> None:
    run = stopped_after(3)
    before = run.journal_file.read_bytes()
    with pytest.raises(BadInput, match=OTHER_DATA[other]) as refused:
        train(run, every_step(), other(small_dataset()))
    held = "\n" not in str(refused.value) and run.journal_file.read_bytes() == before
    tally("a resume with another model, dataset or class order", tried=1, held=held)
    assert held


@pytest.mark.parametrize(("setting", "value"), [("model__activation", "tanh"), ("optimizer__name", "sgd")])
def test_a_run_does_not_go_on_from_another_runs_checkpoint(setting: str, value: str) -> None:
    run = stopped_after(3)
    shutil.rmtree(run.checkpoints)
    other = new_run(Path("other"), config(epochs=1, **{setting: value}))
    train(other, config(epochs=1, **{setting: value}))
    shutil.copytree(other.checkpoints, run.checkpoints)
    for path in pair(other):
        shutil.copy(path, run.checkpoints / path.name.replace("08", "03"))
    with pytest.raises(BadInput, match=f"^{setting.replace('__', '.')}: .* was made with '{value}'") as refused:
        train(run, every_step())
    held = "\n" not in str(refused.value)
    tally("a resume with another model, dataset or class order", tried=1, held=held)
    assert held


# the best weights


def check_flips_of_weights(run: RunDir, count: int, caplog: pytest.LogCaptureFixture) -> None:
    """With a whole checkpoint beside them the weights are the same all the same; without it they are refused."""
    best, whole = run.checkpoints / "best.safetensors", load_trained(run.path).model.state_dict()
    missed = []
    for flip in flips(best, count):
        caplog.clear()
        loaded = load_trained(run.path).model.state_dict()
        named = [str(best) in record.getMessage() for record in caplog.records]
        if named != [True] or any(not torch.equal(loaded[name], whole[name]) for name in whole):
            missed.append(flip)
    for path in [path for newest in (1, 2) for path in pair(run, newest)]:
        path.unlink()
    for flip in flips(best, count, seed=1):
        try:
            load_trained(run.path)
            missed.append(flip)
        except RunFailed as error:
            if not re.fullmatch(f"{best}: .*", str(error)):
                missed.append(f"{flip}: {error}")
    tally("a bit of best.safetensors flipped", tried=2 * count, held=2 * count - len(missed))
    assert not missed


def test_a_flipped_bit_in_the_weights_is_noticed(run: RunDir, caplog: pytest.LogCaptureFixture) -> None:
    check_flips_of_weights(run, 100, caplog)


@pytest.mark.slow
def test_every_flipped_bit_in_the_weights_is_noticed(run: RunDir, caplog: pytest.LogCaptureFixture) -> None:
    check_flips_of_weights(run, repeats(1000), caplog)


@pytest.mark.parametrize("size", [0, 100, -1])
def test_weights_that_were_cut_are_refused(size: int, run: RunDir, caplog: pytest.LogCaptureFixture) -> None:
    best = run.checkpoints / "best.safetensors"
    best.write_bytes(best.read_bytes()[:size])
    for path in pair(run):
        path.write_bytes(b"")
    for path in pair(run, 2):
        path.unlink()
    with pytest.raises(RunFailed, match=f"^{best}: .* train again: cnnlab train ") as refused:
        cnnlab.load(run.path)
    held = "\n" not in str(refused.value)
    tally("best.safetensors cut", tried=1, held=held)
    assert held


@pytest.mark.filterwarnings("ignore")
def test_damaged_weights_are_not_delivered_but_all_the_rest_is(run: RunDir) -> None:
    best = run.checkpoints / "best.safetensors"
    damage = flips(best, 1)
    next(damage)
    for path in run.checkpoints.glob("step-*"):
        path.unlink()
    store = f"sqlite:///{Path.cwd()}/mlflow.db"
    delivery = Deliverer(run, store, lambda path: load_trained(path).model, lambda path, into: [])
    complete = delivery.deliver()
    ended = last(read(run.journal_file)[0], RunEnded)
    assert ended is not None
    with sqlite3.connect("mlflow.db") as database:
        runs = database.execute("SELECT status FROM runs").fetchall()
        tests = database.execute("SELECT value FROM metrics WHERE key = 'test/accuracy'").fetchall()
        models = database.execute("SELECT count(*) FROM logged_models WHERE status = 2").fetchall()
    assert (runs, tests) == ([("FINISHED",)], [(ended.test_score,)])
    held = complete and models == [(0,)] and delivery.refused["model"].startswith(f"{best}: ")
    tally("damaged weights at delivery", tried=1, held=held)
    assert held
