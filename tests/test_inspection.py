"""`cnnlab inspect`: its numbers against torch, Captum and scikit-learn; its files for each kind of network."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import Result
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.metrics import confusion_matrix, jaccard_score

from cnnlab.data import load
from cnnlab.reading import inspection, inspection_page
from cnnlab.reading.inspection_page import Inspector, inspect_run
from cnnlab.reading.trained import load_trained
from cnnlab.tracking import Deliverer, RunDir, load_progress
from tests.pages import check_page

Cli = Callable[..., Result]
Process = Callable[..., "subprocess.CompletedProcess[str]"]
SMALL = ("-q", "--epochs", "1", "-s", "data.train_size=256", "--tracking-uri", "none")
CNN = ("-s", "model.channels=[4,8]", "-s", "model.hidden=[16]", "-s", "model.activation=tanh")
UNET = ("-s", "model.width=4", "-s", "model.depth=2", "--dataset", "shapes_masks")


def train(cli: Cli, *args: str) -> Path:
    done = cli("train", *SMALL, "--run-dir", "run", *args)
    assert done.exit_code == 0, done.output
    return Path("run")


@pytest.fixture
def small(cli: Cli) -> Path:
    return train(cli, *CNN)


@pytest.mark.parametrize(
    "args",
    [
        ("--model", "mlp"),
        ("--model", "perceptron"),
        ("--model", "lenet5", "-s", "data.resize=28"),
        ("--model", "resnet20", "-s", "model.width=4"),
        ("--model", "torchvision/squeezenet1_1", "-s", "data.resize=32"),
        UNET,
        ("--dataset", "shapes_masks", "--model", "fcn", "-s", "model.channels=[4,8]"),
    ],
    ids=lambda args: args[1] if args[0] == "--model" else args[-1],
)
def test_every_kind_of_network_is_drawn(args: tuple[str, ...], cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection_page, "EMBEDDED", 200)
    run = train(cli, *args)
    chosen, images = ("5,2", [5, 2]) if "mlp" in args else ("1", [0])  # a figure of all layers each
    done = cli("inspect", "run", "--json", "-q", "--images", chosen)
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["images"] == images
    assert len(result["layers"]) == len(set(result["layers"])) >= 1
    files = {Path(file).name for file in result["files"]}
    assert files == {file.name for file in (run / "inspect").iterdir()}
    names = ("attributions", "filters", "exciting", "embedding", "confusion", "worst")
    activations = {f"activations-{image}.png" for image in images}
    assert files == {"inspect.html", *activations, *(f"{name}.png" for name in names)}
    for file in files - {"inspect.html"}:
        with Image.open(run / "inspect" / file) as picture:
            seen = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
            assert len(np.unique(np.asarray(seen.convert("L")))) > 10, file
    page = check_page(run / "inspect" / "inspect.html")
    assert page.text.count("data:image/png;base64,") == len(files) - 1


def test_a_second_call_leaves_no_picture_of_the_first(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Inspector, "draw", Inspector._draw_activations)
    folder = Path("pictures")
    inspect_run(Inspector(small, [0, 3], None), folder)
    for mine in ("mine.png", "activations-3-mine.png"):
        (folder / mine).write_bytes((folder / "activations-3.png").read_bytes())
    shown = inspect_run(Inspector(small, [0, 5], None), folder).files
    own = {"mine.png", "activations-3-mine.png"}
    assert {file.name for file in folder.iterdir()} == own | {Path(file).name for file in shown}


def test_errors_and_pairs_are_those_of_scikit_learn(small: Path) -> None:
    result = Inspector(small, 1, None).result([])
    trained = load_trained(small)
    test = load(trained.config.data, 0).test
    with torch.no_grad():
        outputs = trained.model(test.inputs)
    losses = F.cross_entropy(outputs, test.targets, reduction="none")
    wrong = torch.nonzero(outputs.argmax(1) != test.targets)[:, 0]
    order = wrong[losses[wrong].argsort(descending=True)]
    worst = result["worst"]
    assert [error["image"] for error in worst] == order[: len(worst)].tolist()
    assert [error["loss"] for error in worst] == pytest.approx(losses[order][: len(worst)].tolist(), rel=1e-4)
    counts = confusion_matrix(test.targets, outputs.argmax(1), labels=range(10))
    np.fill_diagonal(counts, 0)
    assert [pair["count"] for pair in result["confused"]] == sorted(counts.ravel(), reverse=True)[:10]
    for pair in result["confused"]:
        assert counts[int(pair["true"]), int(pair["predicted"])] == pair["count"]


def test_worst_masks_have_the_lowest_iou_of_scikit_learn(cli: Cli) -> None:
    run = train(cli, *UNET)
    inspector = Inspector(run, 1, None)
    test = inspector.test
    ious = []
    for true, answer in zip(test.targets.numpy(), inspector.answers.predicted.numpy(), strict=True):
        kept = true != 255
        seen = np.union1d(true[kept], answer[kept])
        ious.append(jaccard_score(true[kept], answer[kept], labels=seen, average="macro"))
    assert (1 - inspector.answers.badness).tolist() == pytest.approx(ious, abs=1e-6)
    assert inspector.worst == np.argsort(ious, kind="stable")[:8].tolist()


@pytest.mark.parametrize("args", [CNN, UNET], ids=["classes", "masks"])
def test_attributions_are_those_of_plain_torch(args: tuple[str, ...], cli: Cli) -> None:
    inspector = Inspector(train(cli, *args), 3, None)
    images = inspector.normalize(inspector.chosen.inputs)
    scores = inspection.scores_of(inspector.network)
    classes = inspection.explained_classes(inspector.network(images))
    maps = inspection.attributions(inspector.network, images, classes)
    assert {values.shape for values in maps.values()} == {(3, *images.shape[2:])}

    variable = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(scores(variable).gather(1, classes[:, None]).sum(), variable)
    assert torch.allclose(maps["saliency"], gradient.abs().amax(1), atol=1e-6)

    total = torch.zeros_like(images)
    nodes, weights = np.polynomial.legendre.leggauss(inspection.INTEGRATION_STEPS)
    for node, weight in zip(nodes, weights, strict=True):
        variable = ((1 + node) / 2 * images).float().requires_grad_()
        (gradient,) = torch.autograd.grad(scores(variable).gather(1, classes[:, None]).sum(), variable)
        total += weight / 2 * gradient
    assert torch.allclose(maps["integrated gradients"], (images * total).sum(1), atol=1e-4)

    taker = inspection.deepest(inspector.network, images)
    assert taker is not None
    taken: list[torch.Tensor] = []
    hook = taker.register_forward_pre_hook(lambda module, inputs: taken.append(inputs[0]))
    score = scores(images).gather(1, classes[:, None]).sum()
    hook.remove()
    (gradient,) = torch.autograd.grad(score, taken[0])
    cam = (gradient.mean((2, 3), keepdim=True) * taken[0]).sum(1, keepdim=True).relu()
    enlarged = F.interpolate(cam, images.shape[2:], mode="bilinear")[:, 0]
    assert torch.allclose(maps["Grad-CAM"], enlarged, atol=1e-5)


def test_hooks_give_the_outputs_of_the_layers(small: Path) -> None:
    """In particular not what an activation in place makes of them."""
    inspector = Inspector(small, 2, None)
    images = inspector.normalize(inspector.chosen.inputs)
    outputs = inspection.outputs_of(inspector.network, images)
    first = inspector.layers[0]
    with torch.no_grad():
        assert torch.equal(outputs[first.name], first.module(images))
        assert torch.equal(outputs[inspector.layers[-1].name], inspector.network(images))
    assert any(module.inplace for module in load_trained(train_relu()).model.modules() if hasattr(module, "inplace"))


def train_relu() -> Path:
    done = subprocess.run(
        [sys.executable, "-m", "cnnlab", "train", *SMALL, "--run-dir", "relu"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    inspector = Inspector(Path("relu"), 2, None)
    images = inspector.normalize(inspector.chosen.inputs)
    outputs = inspection.outputs_of(inspector.network, images)
    assert all(output.min() < 0 for output in outputs.values())
    return Path("relu")


def test_a_made_image_excites_its_unit_more_than_noise_and_is_smoother_than_without_the_penalty(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspector = Inspector(small, 1, None)
    network, normalize, layer = inspector.network, inspector.normalize, inspector.layer
    found = inspection.excited_by(network, normalize, layer, inspector.test.inputs)
    best = found.amax(0)
    units = [unit for unit in range(8) if best[unit] > 0.01]
    shape = inspector.test.inputs.shape[1:]

    def make() -> torch.Tensor:
        return inspection.synthesised(network, normalize, layer, units, best[units], shape)

    made = make()
    assert torch.equal(made, make())
    assert 0 <= made.min() <= made.max() <= 255
    noise = torch.full((1, *shape), 127.5)
    excited = inspection.excited_by(network, normalize, layer, made)[range(len(units)), units]
    by_noise = inspection.excited_by(network, normalize, layer, noise)[0, units]
    assert (excited >= by_noise).all()
    assert (excited > 1.2 * by_noise).sum() >= 4
    monkeypatch.setattr(inspection, "SMOOTHNESS", 0.0)
    assert made.diff(dim=3).abs().mean() < make().diff(dim=3).abs().mean()


def test_the_embedding_is_that_of_the_last_hidden_layer(small: Path) -> None:
    inspector = Inspector(small, 1, None)
    outputs = inspection.outputs_of(inspector.network, inspector.normalize(inspector.test.inputs))
    hidden = outputs[inspector.layers[-2].name].tanh()
    assert torch.allclose(inspector.answers.hidden, hidden, atol=1e-5)
    assert torch.equal(inspector.answers.hidden_classes, inspector.test.targets)
    points = inspection.embedding(inspector.answers.hidden)
    assert points is not None
    plain = PCA(2, svd_solver="full").fit(hidden.numpy())
    assert points.explained == pytest.approx(plain.explained_variance_ratio_.sum(), rel=1e-3)
    assert np.allclose(np.abs(points.pca), np.abs(plain.transform(hidden.numpy())), atol=1e-2)
    assert points.tsne.shape == points.pca.shape


@pytest.mark.long
def test_mlflow_gets_the_pictures_of_a_run_that_it_has(cli: Cli, process: Process) -> None:
    done = process("train", "-q", "--epochs", "1", "-s", "data.train_size=256", *CNN)
    assert done.returncode == 0, done.stderr
    assert cli("sync", "last").exit_code == 0
    done = cli("inspect", "last", "--json", "-q")
    assert (done.exit_code, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    run = RunDir(Path(result["files"][0]).parents[1])
    progress = load_progress(run, run.created.tracking_uri)
    assert progress.complete
    client = Deliverer(run, run.created.tracking_uri, lambda path: None, lambda path, into: []).client
    artifacts = {Path(file.path).name for file in client.list_artifacts(str(progress.mlflow_run_id), "inspect")}
    assert artifacts == {Path(file).name for file in result["files"]}
    mlflow_run = client.get_run(str(progress.mlflow_run_id))
    assert mlflow_run.info.status == "FINISHED"
    assert len(client.get_metric_history(mlflow_run.info.run_id, "test/accuracy")) == 1


@pytest.mark.long
def test_a_colour_terminal_shows_small_pictures_and_a_pipe_does_not(small: Path, cli: Cli) -> None:
    assert "▀" not in cli("inspect", "run", "--images", "1").stdout
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "cnnlab", "inspect", "run", "-q", "-o", "there", "--images", "1"]
    colours = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "COLUMNS": "80"}
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, env=colours)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # the other side was closed
        pass
    os.close(ours)
    assert process.communicate()[1] == b""
    assert process.returncode == 0
    assert "▀".encode() in shown
    assert b"\x1b[38;2;" in shown


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("nothing",), "nothing: no run begins so"),
        (("run", "--images", "x"), "--images 'x': is neither a number of images"),
        (("run", "--images", "0"), "--images '0': is neither"),
        (("run", "--images", "-3,4"), "--images '-3,4': is neither"),
        (("run", "--images", ""), "--images '': is neither"),
        (("run", "--images", "3,4000"), "--images 4000: no such test image; they are numbered 0 to 358"),
        (("run", "--layer", "conv1"), "--layer 'conv1': no such layer; there are 0, 3, 7, 9"),
        (("run", "-o", ""), "--output: '' is not allowed"),
        (("run", "-o", "run/config.yaml"), "--output: 'run/config.yaml' is not allowed; it must be the name"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    args: tuple[str, ...], message: str, small: Path, cli: Cli
) -> None:
    done = cli("inspect", *args)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"cnnlab: {message}")
    assert done.stderr.count("\n") == 1
    assert not (small / "inspect").exists()


def test_without_captum_the_extra_is_named(small: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)
    done = cli("inspect", "run")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "cnnlab[inspect]" in done.stderr
    assert not (small / "inspect").exists()
