"""Starting from trained weights: of a run, of a file in torchvision's format, with frozen blocks and two rates."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from click.testing import Result
from safetensors.torch import load_file
from torch import nn
from torch.testing import assert_close

from cnnlab.errors import BadInput
from cnnlab.records import RunEnded, RunStarted
from cnnlab.training import Learner, fit, load_latest, weights_digest
from cnnlab.training.transfer import blocks
from tests.runs import losses_of, records_of, small_config, small_dataset

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
RESNET = {"model__name": "torchvision/resnet18", "data__batch_size": 32, "training__epochs": 1}


def torchvision_file(name: str = "resnet18") -> nn.Module:
    """torchvision's network with 1,000 classes; its weights are in file.pth."""
    torch.manual_seed(3)
    network = torchvision.models.get_model(name)
    torch.save(network.state_dict(), "file.pth")
    return network.eval()


def learner_of(dataset: object = None, **settings: object) -> Learner:
    return Learner(small_config(**settings), dataset or small_dataset())  # type: ignore[arg-type]


def test_a_file_of_torchvision_gives_torchvisions_features() -> None:
    theirs = torchvision_file()
    dataset = small_dataset(shape=(3, 32, 32))
    learner = learner_of(dataset, model__weights="file.pth", **RESNET)
    fresh = learner_of(dataset, **RESNET)
    learner.model.eval()
    images = dataset.train.inputs[:8]
    theirs.fc = nn.Identity()
    features = theirs((images / 255 - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1))
    network = learner.model.network
    assert_close(network.fc(features), learner.model(images), rtol=1e-4, atol=1e-4)
    assert torch.equal(network.fc.weight, fresh.model.network.fc.weight), "the last layer is new"


def test_grey_images_give_what_the_same_colours_gave() -> None:
    theirs = torchvision_file()
    learner = learner_of(small_dataset(shape=(1, 32, 32)), model__weights="file.pth", **RESNET)
    grey = torch.rand(2, 1, 32, 32)
    ours = learner.model.network.conv1.eval()(grey)
    assert_close(ours, theirs.conv1(grey.expand(2, 3, 32, 32)), rtol=1e-4, atol=1e-4)


def test_old_files_of_densenet_fit() -> None:
    network = torchvision.models.densenet121()
    import re

    old = {re.sub(r"\.(norm|conv)([12])\.", r".\1.\2.", name): w for name, w in network.state_dict().items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save({name: w for name, w in old.items() if "num_batches" not in name}, "file.pth")
    learner = learner_of(
        small_dataset(shape=(3, 32, 32)),
        **RESNET | {"model__name": "torchvision/densenet121"},
        model__weights="file.pth",
    )
    expected = network.features.denseblock1.denselayer1.norm1.weight
    assert torch.equal(learner.model.network.features.denseblock1.denselayer1.norm1.weight, expected)


def test_a_runs_weights_and_its_normalisation_are_those_it_ended_with(tmp_path: Path) -> None:
    dataset = small_dataset()
    ended = records_of(small_config(), dataset, tmp_path)[-1]
    assert isinstance(ended, RunEnded)
    file = tmp_path / str(ended.weights_file)
    darker = replace(dataset, train=replace(dataset.train, inputs=dataset.train.inputs // 2))
    learner = learner_of(darker, model__weights=str(file))
    expected = load_file(file)
    state = learner.model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())
    assert learner.initial_sha256 == ended.weights_sha256 == weights_digest(expected)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"model__freeze": 0}, []),
        ({"model__freeze": 1}, ["0", "1"]),
        ({"model__freeze": 2}, ["0", "1", "5"]),
        ({"model__freeze": "all"}, ["0", "1", "5"]),
    ],
)
def test_frozen_blocks_keep_weights_and_statistics(settings: dict[str, object], kept: list[str]) -> None:
    config = small_config(model__norm="batch", **settings)  # conv, norm, pool, activation, flatten, linear, linear
    learner = Learner(config, small_dataset())
    before = {name: tensor.clone() for name, tensor in learner.model.network.state_dict().items()}
    list(fit(learner))
    same = {name for name, tensor in learner.model.network.state_dict().items() if torch.equal(tensor, before[name])}
    # before batch normalisation, a bias has no gradient
    assert same - {"0.bias"} == {name for name in before if name.split(".")[0] in kept} - {"0.bias"}


def test_blocks_are_layers_or_modules_of_several() -> None:
    network = torchvision.models.resnet18()
    kinds = [[type(module).__name__ for module in block] for block in blocks(network)]
    assert kinds == [["Conv2d", "BatchNorm2d"], *[["BasicBlock"]] * 8, ["Linear"]]


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon", "rmsprop"])
def test_the_body_has_the_smaller_rate(name: str) -> None:
    """One step with the factor f moves the body as one step at f times the rate does, and the last layer as before."""

    def moved(**settings: object) -> dict[str, torch.Tensor]:
        learner = learner_of(model__hidden=[8, 8], optimizer__name=name, **settings)
        before = {n: w.detach().clone() for n, w in learner.model.named_parameters()}
        learner.begin_epoch(0)
        learner.step(learner.config.optimizer.lr, 0)
        return {n: w.detach() - before[n] for n, w in learner.model.named_parameters()}

    two = moved(optimizer__lr=0.01, optimizer__body_lr_factor=0.25)
    full, quarter = moved(optimizer__lr=0.01), moved(optimizer__lr=0.0025)
    last = [n for n in two if n.startswith("network.8")]
    assert len(last) == 2
    for n, step in two.items():
        assert_close(step, (full if n in last else quarter)[n])


@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_a_stopped_run_with_weights_goes_on_to_the_same_bits(tmp_path: Path, optimizer: str) -> None:
    records_of(small_config(), folder=tmp_path / "source")
    config = small_config(
        model__weights=str(tmp_path / "source/checkpoints/best.safetensors"),
        model__freeze=1,
        optimizer__name=optimizer,
        optimizer__body_lr_factor=0.1,
        training__checkpoint_every=3,
    )
    whole = records_of(config)
    records = fit(Learner(config, small_dataset()), tmp_path)
    seen = 0
    for record in records:
        seen = max(seen, record.last)
        if seen >= 6:
            break
    records.close()
    start = load_latest(tmp_path / "checkpoints", 6)
    assert start is not None
    rest = list(fit(Learner(config, small_dataset()), tmp_path, start))
    assert losses_of(rest) == losses_of(whole)[-len(losses_of(rest)) :]
    assert isinstance(rest[-1], RunEnded)
    assert isinstance(whole[-1], RunEnded)
    assert rest[-1].weights_sha256 == whole[-1].weights_sha256


def test_a_resume_refuses_other_weights_in_the_file(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        records_of(small_config(training__seed=seed), folder=tmp_path / name)
    file = tmp_path / "a/checkpoints/best.safetensors"
    config = small_config(model__weights=str(file))
    records_of(config, folder=tmp_path / "c")
    start = load_latest(tmp_path / "c/checkpoints", 12)
    (tmp_path / "b/checkpoints/best.safetensors").replace(file)
    with pytest.raises(BadInput, match=r"initial_sha256: .* was made with"):
        list(fit(Learner(config, small_dataset()), tmp_path / "c", start))


def test_epochs_are_added_to_a_finished_run(cli: Callable[..., Result]) -> None:
    few = ["--json", "-q", "--tracking-uri", "none"]
    first = json.loads(cli("train", "--epochs", "2", "-s", "data.train_size=200", *few).stdout)
    done = cli("train", "--resume", "last", "--epochs", "1", *few)
    assert f"{first['run_id']} has finished; a new run trains 1 more epochs from its weights" in done.stderr
    second = json.loads(done.stdout)
    assert second["config"]["model"]["weights"] == f"mlruns/runs/{first['run_id']}/checkpoints/best.safetensors"
    assert (second["epochs"], second["config"]["data"]["train_size"]) == (1, 200)
    journal = Path(second["run_dir"], "journal.jsonl").read_text()
    assert f'"initial_sha256": "{first["weights_sha256"]}"' in journal


def test_the_weights_are_a_tag() -> None:
    started = next(record for record in records_of(small_config()) if isinstance(record, RunStarted))
    assert "cnnlab.initial_sha256" not in started.mlflow_tags()
    assert replace(started, initial_sha256="ab").mlflow_tags()["cnnlab.initial_sha256"] == "ab"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-s", "model.weights=imagenet"], "weights imagenet is not allowed for cnn"),
        (["-s", "model.weights=nothing"], "model.weights: nothing: no run begins so"),
        (["-s", "model.weights="], "model.weights: '' is not allowed"),
        (["-s", "model.weights=text.pth"], "model.weights: text.pth cannot be read"),
        (["-s", "model.weights=text.safetensors"], "model.weights: text.safetensors cannot be read"),
        (["-s", "model.weights=code.pth"], "model.weights: code.pth cannot be read"),
        (["-s", "model.weights=more.pth"], "model.weights: more.pth has more than weights"),
        (["-s", "model.weights=other.pth"], "does not fit cnn: it has weight, which cnn does not have"),
        (["-s", "model.weights=numbered.pth"], "numbered.pth has more than weights"),
        (["-s", "model.weights=scalar.pth"], "its 0.weight is (), and that of cnn on these"),
        (
            ["-s", "model.weights=flat.pth", "--model", "perceptron"],
            "its normalize.scale has not one value per channel",
        ),
        (["-s", "model.freeze=4"], "model.freeze: 4 is not allowed; this network has 3 blocks before its last layer"),
        (["-s", "model.freeze=-1"], "model.freeze: -1 is not allowed"),
        (["-s", "model.freeze=some"], "model.freeze: 'some' is not allowed"),
        (["-s", "optimizer.body_lr_factor=0"], "optimizer.body_lr_factor: 0 is not allowed"),
        (["--model", "torchvision/resnet18", "-s", "model.weights=imagenet"], "resnet18-f37072fd.pth into hub/checkp"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], said: str, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.hub.get_dir", lambda: "hub")
    monkeypatch.setattr("urllib.request.OpenerDirector.open", refuse)
    Path("text.pth").write_text("weights")
    Path("text.safetensors").write_text("weights")
    torch.save(print, "code.pth")
    torch.save({"epoch": 3}, "more.pth")
    torch.save({"weight": torch.zeros(2)}, "other.pth")
    torch.save({1: torch.zeros(2)}, "numbered.pth")
    torch.save({"0.weight": torch.tensor(1.0)}, "scalar.pth")
    perceptron = {"network.1.weight": torch.zeros(10, 64), "network.1.bias": torch.zeros(10)}
    torch.save(perceptron | {"normalize.scale": torch.zeros(7)}, "flat.pth")
    done = cli("train", *words)
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not Path("mlruns").exists()


def refuse(*_: object, **__: object) -> None:
    raise OSError("there is no network")
