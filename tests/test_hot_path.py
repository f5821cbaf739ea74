"""The hot path by counted work, not by time: operator calls, waits for the device, page faults, imports."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from torch.profiler import ProfilerActivity, profile

from cnnlab.training import Learner
from tests.runs import small_config, small_dataset

OPERATOR_CALLS = {"sgd": 195, "adam": 245, "sgd, clipped": 216}
"""Calls of a step on the default network, those that others make included. May sink; a rise has to be explained."""

SETTINGS = {
    "sgd": {},
    "adam": {"optimizer__name": "adam", "optimizer__lr": 0.001},
    "sgd, clipped": {"training__clip_norm": 1.0},
    "sgd, penalised": {"penalty__l1": 0.01, "penalty__l2": 0.01, "optimizer__decoupled_decay": 0.1},
}


def operator_calls(settings: dict[str, object]) -> Counter[str]:
    config, dataset = small_config(**settings), small_dataset()
    learner = Learner(config, dataset)
    images, labels = dataset.train.inputs[:16], dataset.train.targets[:16]
    learner.update(images, labels, 0.01, 0)  # what happens once
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiled:
        learner.update(images, labels, 0.01, 1)
    return Counter(event.name for event in profiled.events() if event.name.startswith("aten::"))


@pytest.mark.parametrize("case", OPERATOR_CALLS)
def test_a_step_calls_no_more_operators_than_it_did(case: str) -> None:
    calls = operator_calls(SETTINGS[case])
    assert sum(calls.values()) <= OPERATOR_CALLS[case], calls.most_common(12)


@pytest.mark.parametrize(
    "case", ["sgd", "sgd, clipped", "sgd, penalised"]
)  # fused Adam on a CPU reads the guard's number, at no wait
def test_a_step_never_waits_for_the_device(case: str) -> None:
    waits = {"aten::item", "aten::_local_scalar_dense", "aten::is_nonzero", "aten::nonzero"}
    assert not waits & set(operator_calls(SETTINGS[case]))


@pytest.mark.skipif(sys.platform != "linux", reason="about glibc's memory")
def test_a_step_lives_on_the_memory_of_the_one_before() -> None:
    code = """
import resource
from tests.runs import small_config, small_dataset
from cnnlab.training import Learner, set_for_training
config, dataset = small_config(model__channels=[64, 32]), small_dataset()
learner = Learner(config, dataset)
set_for_training(learner.operator_threads, learner.generator).__enter__()
def steps(count):
    for number in range(count):
        learner.update(dataset.train.inputs, dataset.train.targets, 0.01, number)
steps(5)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
steps(20)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20)
"""
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert float(done.stdout) < 50


def test_the_training_process_never_imports_mlflow_nor_what_else_is_slow() -> None:
    code = """
import sys
from cnnlab.cli import main
try:
    main(["train", "--epochs", "1", "-q", "--json", "--tracking-uri", "sqlite:///store.db"])
except SystemExit as end:
    assert not end.code
slow = {"mlflow", "torchvision", "sklearn", "PIL", "matplotlib", "optuna", "torch._dynamo"}
print(slow & set(sys.modules), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "set()"
