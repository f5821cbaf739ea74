"""Datasets of points, Rosenblatt's rule and the step activation against formulas; and what a run of points leaves."""

import operator
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import make_moons
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

import cnnlab
from cnnlab.config import DataConfig, as_config
from cnnlab.config.data import DATASETS
from cnnlab.data import Dataset, Split, load
from cnnlab.data.points import GRID, MAKERS, TRAIN, grid_over, points
from cnnlab.errors import BadInput
from cnnlab.models.blocks import ACTIVATIONS
from cnnlab.records import Record, RunEnded, RunStarted
from cnnlab.tracking import find_run, last, read
from cnnlab.training import Learner
from tests.runs import losses_of, records_of

RULE = {"model": {"name": "perceptron", "init": "zeros"}, "optimizer": {"name": "perceptron"}}
FP32 = {"precision": "fp32", "epochs": 6}


def corners() -> Dataset:
    """`and` with one point on each corner, which normalisation leaves as they are."""
    inputs = torch.tensor([[-1.0, -1], [-1, 1], [1, -1], [1, 1]])
    split = Split(inputs, torch.tensor([0, 0, 0, 1]))
    return Dataset("and", ("0", "1"), split, split, split, digest="0" * 32, source="tests")


def linear_of(learner: Learner) -> nn.Linear:
    layer = learner.model.network[1]  # type: ignore[index]
    assert isinstance(layer, nn.Linear)
    return layer


def test_rosenblatts_rule_takes_the_steps_of_an_example_worked_by_hand() -> None:
    dataset = corners()
    learner = Learner(as_config({**RULE, "training": FP32, "data": {"dataset": "and"}}), dataset)
    learner.begin_epoch(0)
    samples = [dataset.train.take(torch.tensor([index])) for index in (0, 1, 2, 3)]
    losses, biases = [], []
    for _ in range(3):
        losses.append([learner.update(x.inputs, x.targets, lr=1.0, noise=0).loss.item() for x in samples])
        biases.append(linear_of(learner).bias.tolist())
    # epoch 1: (-1,-1) corrects output 0 to w=(-1,-1), b=1, and (1,1) output 1 to w=(1,1), b=1
    # epoch 2: (-1,1) corrects output 1 to w=(2,0), b=0, and (1,-1) to w=(1,1), b=-1; epoch 3: no mistake
    assert losses == [[1, 0, 0, 1], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert biases == [[1, 1], [1, -1], [1, -1]]
    assert linear_of(learner).weight.tolist() == [[-1, -1], [1, 1]]


@pytest.mark.parametrize("accumulate", [1, 3])
def test_of_a_batch_the_rule_takes_the_mean_each_class_against_the_rest(accumulate: int) -> None:
    dataset = load(DataConfig(dataset="blobs"), seed=0)
    training = {**FP32, "accumulate": accumulate}
    config = as_config({**RULE, "model": {"name": "perceptron"}, "training": training, "data": {"dataset": "blobs"}})
    learner = Learner(config, dataset)
    layer, size = linear_of(learner), 30
    weight, bias = (parameter.detach().double().numpy().copy() for parameter in (layer.weight, layer.bias))
    learner.update(dataset.train.inputs[:size], dataset.train.targets[:size], 0.3, 0)
    inputs = dataset.train.inputs.double().numpy()
    x = ((inputs - inputs.mean(0)) / inputs.std(0))[:size]
    y, t = (x @ weight.T + bias > 0).astype(float), np.eye(3)[dataset.train.targets[:size].numpy()]
    np.testing.assert_allclose(layer.weight.detach(), weight + 0.3 * (t - y).T @ x / size, rtol=1e-5)
    np.testing.assert_allclose(layer.bias.detach(), bias + 0.3 * (t - y).mean(0), rtol=1e-5)


def run_of(dataset: str, **sections: object) -> list[Record]:
    config = as_config({"data": {"dataset": dataset}, "training": FP32, **sections})
    return records_of(config, load(config.data, seed=0))


def accuracy_of(records: list[Record]) -> float:
    ended = last(records, RunEnded)
    assert ended is not None
    return ended.test["accuracy"]


@pytest.mark.parametrize("dataset", ["and", "or"])
def test_the_rule_converges_if_a_line_separates_the_classes(dataset: str) -> None:
    records = run_of(dataset, **RULE)
    assert losses_of(records)[-15:] == [0] * 15, "the last epoch"
    assert accuracy_of(records) > 0.99


def test_a_perceptron_cannot_learn_xor_and_an_mlp_can() -> None:
    assert accuracy_of(run_of("xor", **RULE)) < 0.8
    assert accuracy_of(run_of("xor", model={"name": "perceptron"})) < 0.8
    assert accuracy_of(run_of("xor")) == 1
    assert accuracy_of(run_of("xor", model={"name": "mlp", "activation": "step"})) == 1


def test_the_step_is_that_of_heaviside_and_its_gradient_that_of_the_identity() -> None:
    inputs = torch.linspace(-3, 3, 13, requires_grad=True)  # with 0
    outputs: Tensor = ACTIVATIONS["step"]()(inputs)
    assert torch.equal(outputs, torch.heaviside(inputs.detach(), torch.tensor(0.0)))
    outputs.backward(torch.arange(13.0))  # type: ignore[no-untyped-call]
    assert torch.equal(inputs.grad, torch.arange(13.0))


@pytest.mark.parametrize(("name", "is_true"), [("xor", operator.xor), ("and", operator.and_), ("or", operator.or_)])
def test_a_gates_classes_are_its_outputs(name: str, is_true: Callable[[bool, bool], bool]) -> None:
    for split in points(name).splits.values():
        assert [int(is_true(a > 0.5, b > 0.5)) for a, b in split.inputs.tolist()] == split.targets.tolist()
        assert len(torch.unique(split.inputs.round(), dim=0)) == 4


def test_the_moons_are_scikit_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnlab.data.points.NOISE", 0.0)
    theirs, labels = make_moons(2000)
    train = points("moons").splits["train"]
    distances, nearest = NearestNeighbors(n_neighbors=1).fit(theirs).kneighbors(train.inputs.numpy())
    assert distances.max() < 0.01
    assert (labels[nearest[:, 0]] == train.targets.numpy()).all()


def test_a_spiral_is_the_other_turned_by_half_a_circle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnlab.data.points.NOISE", 0.0)
    train = points("spirals").splits["train"]
    arms = [train.inputs[train.targets == arm].numpy() for arm in (0, 1)]
    assert NearestNeighbors(n_neighbors=1).fit(arms[0]).kneighbors(-arms[1])[0].max() < 0.2
    assert NearestNeighbors(n_neighbors=1).fit(arms[0]).kneighbors(arms[1])[0].max() > 0.3


@pytest.mark.parametrize("name", MAKERS)
def test_the_points_are_fixed_and_a_seed_only_holds_out_others(name: str) -> None:
    one, other = (load(DataConfig(dataset=name), seed) for seed in (1, 2))
    assert one.digest == other.digest
    assert torch.equal(one.test.inputs, other.test.inputs)
    assert not torch.equal(one.val.inputs, other.val.inputs)
    assert one.image_shape == (2,)
    assert one.train.inputs.dtype == torch.float32
    assert len(one.train) + len(one.val) == TRAIN
    assert DATASETS[name].models == ("mlp", "perceptron")


def test_a_networks_normalisation_gives_points_mean_0_and_deviation_1() -> None:
    config = as_config({"data": {"dataset": "blobs"}})
    dataset = load(config.data, seed=0)
    given = Learner(config, dataset).model.normalize(dataset.train.inputs)  # type: ignore[operator]
    torch.testing.assert_close(given.mean(0), torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(given.std(0, correction=0), torch.ones(2))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--dataset", "moons", "--model", "cnn"),
            "model.name: 'cnn' is not for moons, which has points and no images",
        ),
        (("--dataset", "xor", "--model", "torchvision/vgg11"), "it must be one of mlp, perceptron"),
        (("--dataset", "moons", "-s", "data.augment=[flip]"), "data.augment is for images, but moons has points"),
        (("--dataset", "moons", "-s", "data.resize=8"), "data.resize is for images, but moons has points"),
        (("--dataset", "moons", "--data-root", "."), "data.root: moons is built in and reads no folder"),
        (("--optimizer", "perceptron"), "model.name: 'cnn' is not for the optimizer perceptron, Rosenblatt's rule"),
        (("--optimizer", "perceptron", "--model", "mlp"), "it must be perceptron"),
        (
            ("--optimizer", "perceptron", "--model", "perceptron", "-s", "loss.name=hinge"),
            "loss.name: 'hinge' is not for the optimizer perceptron",
        ),
        (("--optimizer", "perceptron", "--model", "perceptron", "--momentum", "0.9"), "perceptron has no momentum"),
    ],
)
def test_what_points_and_the_rule_do_not_go_with_is_refused(
    cli: Callable[..., Result], words: tuple[str, ...], said: str
) -> None:
    done = cli("train", *words)
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(Path().iterdir()) == []


def test_what_a_run_of_points_leaves_and_which_commands_take_it(cli: Callable[..., Result]) -> None:
    words = ("--dataset", "moons", "--epochs", "2", "--precision", "fp32", "-q", "--tracking-uri", "none")
    assert cli("train", *words).exit_code == 0
    run = find_run("last")
    shown = cli("show", "last", "--plot", "figures")
    assert "regions: · class 0, # class 1" in shown.stdout
    with Image.open("figures/regions.png") as picture:
        assert picture.size == (720, 600)

    records = read(run.journal_file)[0]
    started = last(records, RunStarted)
    assert started is not None
    assert (started.image_shape, started.input_dtype) == ((2,), "float32")
    assert '"image": {"dtype": "float32", "shape": [2]}' in started.dataset_fields()["schema"]
    network, drawn = cnnlab.load("last"), load_file(run.path / "examples.safetensors")
    grid, ends = grid_over(drawn["inputs"])
    assert torch.equal(drawn["regions"].flatten(), network(grid).argmax(1).byte())
    (left, bottom), (right, top) = ends.tolist()
    torch.testing.assert_close(grid[[0, GRID - 1, -1]], torch.tensor([[left, bottom], [right, bottom], [right, top]]))
    best = network.predict(drawn["inputs"][:3])
    assert [answer.predictions[0]["class"] for answer in best] == [
        str(c) for c in network(drawn["inputs"][:3]).argmax(1).tolist()
    ]
    with pytest.raises(
        BadInput, match=r"^images: \(1, 3\) float32 is not allowed; this network takes \(N, 2\) float32$"
    ):
        network.predict(torch.zeros(1, 3))

    assert "accuracy" in cli("evaluate", "last").stdout
    assert "test 1000x128" in cli("features", "last", "-o", "f.npz").stdout
    assert cli("export", "last", "--format", "safetensors", "-o", "exported").exit_code == 0
    assert "dtype=torch.float32" in Path("exported/README.md").read_text()
    for refused, said in {
        ("predict", "last", "figures/regions.png"): "takes no images but points, as moons has",
        ("features", "last", "figures/regions.png", "-o", "f.npz"): "takes no images but points",
        ("inspect", "last"): "moons has no images to inspect but points; cnnlab show",
        ("evaluate", "last", "--dataset", "digits"): "its classes are not those of the run",
    }.items():
        done = cli(*refused)
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
        assert said in done.stderr
