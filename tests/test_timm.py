"""Networks of timm, an extra: of its tiny ones, with random weights and with those of a file."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close

from cnnlab.reading.trained import load_trained
from cnnlab.training import Learner
from tests.runs import small_config, small_dataset

timm = pytest.importorskip("timm")

Cli = Callable[..., Result]
RESNET = "timm/test_resnet"
REPOSITORY = "models--timm--test_resnet.r160_in1k"


def timms_file(path: Path) -> nn.Module:
    """timm's network with 1,000 classes; its weights are in the file."""
    torch.manual_seed(3)
    network = timm.create_model("test_resnet")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), path)
    return network.eval()


def test_a_network_of_timm_is_trained_and_loaded(cli: Cli) -> None:
    small = ("-s", "data.resize=32", "-s", "data.train_size=32", "--precision", "fp32", "--tracking-uri", "none")
    done = cli("train", "--model", "timm/test_efficientnet", "--epochs", "1", *small, "--run-dir", "run", "-q")
    assert done.exit_code == 0, done.output
    run = load_trained(Path("run"))
    theirs = timm.create_model("test_efficientnet", num_classes=10, in_chans=1).eval()
    theirs.load_state_dict(run.model.network.state_dict())
    images = torch.randint(0, 256, (3, 1, 32, 32)).byte()
    with torch.inference_mode():
        assert_close(run.model(images), theirs(run.model.normalize(images)))


@pytest.mark.parametrize("weights", ["file.safetensors", "imagenet"])
def test_a_file_of_timm_gives_timms_features(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Path("hub", REPOSITORY)  # as a download leaves it
    theirs = timms_file(cache / "snapshots/123/model.safetensors" if weights == "imagenet" else Path(weights))
    if weights == "imagenet":
        (cache / "refs").mkdir()
        (cache / "refs/main").write_text("123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "hub")
    dataset = small_dataset(shape=(3, 32, 32))
    learner = Learner(small_config(model__name=RESNET, model__weights=weights), dataset)
    model, images = learner.model.eval(), dataset.train.inputs[:4]
    scaled = (images / 255 - 0.5) / 0.5  # timm's normalisation of this network
    with torch.inference_mode():
        features = theirs.forward_head(theirs.forward_features(scaled), pre_logits=True)
        assert_close(model.network.get_classifier()(features), model(images), rtol=1e-4, atol=1e-4)


BAD = [
    (RESNET, "imagenet", "get model.safetensors of timm/test_resnet.r160_in1k and set model.weights to it"),
    ("timm/test_resnett", "", "did you mean timm/test_resnet?"),
    ("timm/test_resnet.nope", "", "Invalid pretrained tag"),
    ("timm/vit_tiny_patch16_224", "", "try larger ones"),
    ("timm/test_efficientnet", "file.safetensors", "which timm/test_efficientnet does not have"),
]


@pytest.mark.parametrize(("name", "weights", "said"), BAD)
def test_bad_input_is_one_line(name: str, weights: str, said: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    timms_file(Path("file.safetensors"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "hub")
    given = ("-s", f"model.weights={weights}") if weights else ()
    done = cli("train", "--model", name, "-s", "data.resize=32", *given)
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not Path("mlruns").exists()


def test_without_timm_the_extra_is_named(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    done = cli("train", "--model", RESNET)
    assert done.exit_code == 2
    assert done.stderr.endswith("pip install cnnlab[timm]\n")
