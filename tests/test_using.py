"""What a trained network is used for: predictions, evaluation, exports, representations."""

import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, jaccard_score, precision_recall_fscore_support
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.testing import assert_close

import cnnlab
from cnnlab.data import load
from cnnlab.data.load import resize
from cnnlab.data.pictures import on_disk
from cnnlab.errors import BadInput
from cnnlab.reading import exporting, predictions, trained
from cnnlab.reading.evaluation import evaluate, load_for
from cnnlab.tracking import find_run

Cli = Callable[..., Result]
SMALL = {"training.epochs": 2, "training.precision": "fp32", "optimizer.lr": 0.1}


def a_run(**settings: object) -> trained.Trained:
    given = {key.replace("__", "."): value for key, value in settings.items()}
    result = cnnlab.train({**SMALL, **given}, tracking_uri="none")
    return trained.load_trained(find_run(result.run_dir).path)


def read(path: str) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def odd_pictures(root: Path) -> list[Path]:
    """Grey of 16 bits that uses a part of the range, transparent drawings, JPEGs; of several sizes."""
    random = np.random.default_rng(0)
    for index in range(12):
        folder = root / "ab"[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (20 + index, 31, 4), np.uint8)
        Image.fromarray(random.integers(9000, 12000, (25, 40 - index), np.uint16)).save(folder / f"{index}_deep.png")
        Image.fromarray(pixels // 4 + np.uint8(180), "RGBA").save(folder / f"{index}_clear.png")
        Image.fromarray(pixels[..., :3]).save(folder / f"{index}.jpg")
    return sorted(root.rglob("*.*"))


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
def test_pictures_are_read_bit_for_bit_as_in_training() -> None:
    paths = odd_pictures(Path("mine"))
    run = a_run(data__dataset="folder", data__root="mine", data__resize=24)
    assert run.started.rendering != (0.0, 65535.0, 255)
    dataset = load(run.config.data, 0)
    known = {image.numpy().tobytes() for split in dataset.splits.values() for image in split.inputs}
    images, broken = predictions.read_like(run.started, [on_disk(path) for path in paths])
    assert not broken
    assert {image.numpy().tobytes() for image in images} == known


@pytest.mark.parametrize("resize", [None, 12])
def test_grey_pictures_are_read_as_stored_arrays(resize: int | None) -> None:
    run = a_run(data__resize=resize)
    test, stored = load(run.config.data, 0).test, load(run.config.data.model_copy(update={"resize": None}), 0).test
    for index in range(5):
        Image.fromarray(stored.inputs[index, 0].numpy()).save(f"{index}.png")
    images, _ = predictions.read_like(run.started, [on_disk(Path(f"{index}.png")) for index in range(5)])
    assert torch.equal(images, test.inputs[:5])


def test_a_network_with_a_global_pool_classifies_images_of_another_size() -> None:
    model: dict[str, object] = {"model__global_pool": True, "model__channels": [8, 16, 32], "model__norm": "batch"}
    run = a_run(data__resize=28, data__train_size=600, training__epochs=6, **model)
    network = predictions.LoadedNetwork(run)
    dataset, _ = load_for(run)
    test = dataset.splits["test"]
    larger = resize(test.inputs, 40)
    answers = [answer["predictions"][0]["class"] for answer in network.predict(larger, top=1)]
    right = np.mean([found == network.classes[true] for found, true in zip(answers, test.targets, strict=True)])
    assert right > 0.2  # guessing is right for 0.1
    found, _ = load_for(run, {"data.resize": 40})
    again = evaluate(run, found)
    answers = [answer["predictions"][0]["class"] for answer in network.predict(found.test.inputs, top=1)]
    said = [found.classes[true] == answer for true, answer in zip(found.test.targets, answers, strict=True)]
    assert again.metrics["accuracy"]["value"] == np.mean(said)
    Image.fromarray(larger[0, 0].numpy()).save("larger.png")
    (one,) = predictions.predict(run, [on_disk(Path("larger.png"))], device="cpu", side=40)
    assert one.predictions == network.predict(larger[:1])[0].predictions
    with pytest.raises(BadInput, match=r"this network takes \(N, 1, 28, 28\) uint8"):
        predictions.LoadedNetwork(a_run(data__resize=28, data__train_size=60)).predict(larger)
    with pytest.raises(BadInput, match=r"images: \(4, 3, 40, 40\) uint8 is not allowed"):
        network.predict(larger[:4].expand(4, 3, 40, 40))


def test_predictions_are_the_networks(cli: Cli) -> None:
    run = a_run()
    test = load(run.config.data, 0).test
    Path("some").mkdir()
    for index in range(4):
        Image.fromarray(test.inputs[index, 0].numpy()).save(f"some/{index}.png")
    Path("some/9.png").write_text("no image")
    done = cli("predict", "last", "some", "--json", "--top", "3")
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert "some/9.png is not an image" in done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    with torch.inference_mode():
        best = run.model(test.inputs[:4]).softmax(1).topk(3)
    assert [[int(p["class"]) for p in line["predictions"]] for line in lines[:4]] == best.indices.tolist()
    said = [[p["probability"] for p in line["predictions"]] for line in lines[:4]]
    np.testing.assert_allclose(said, best.values.numpy(), rtol=1e-5)
    assert lines[4]["image"] == "some/9.png"
    assert lines[4]["error"]
    table = cli("predict", "last", "some/0.png", "--csv", "--top", "1").stdout.splitlines()
    assert table[0] == "image,rank,class,probability"
    assert table[1].startswith("some/0.png,1,")
    network = cnnlab.load("last")
    assert network.classes == tuple("0123456789")
    assert [r.predictions for r in network.predict(test.inputs[:4])] == [
        r.predictions for r in network.predict("some")[:4]
    ]


def test_a_picture_on_stdin() -> None:
    a_run()
    buffer = io.BytesIO()
    Image.new("L", (8, 8), 7).save(buffer, "PNG")
    words = [sys.executable, "-m", "cnnlab", "predict", "last", "-", "--json"]
    done = subprocess.run(words, input=buffer.getvalue(), capture_output=True, check=True)
    assert json.loads(done.stdout)["image"] == "-"


def test_an_evaluation_is_that_of_scikit_learn_and_of_the_run() -> None:
    run = a_run()
    dataset, doubts = load_for(run)
    found = evaluate(run, dataset)
    with torch.inference_mode():
        shares = run.model(dataset.test.inputs).softmax(1).numpy()
    true, said, sure = dataset.test.targets.numpy(), shares.argmax(1), shares.max(1)
    assert not doubts
    assert found.metrics["accuracy"]["value"] == run.ended.test["accuracy"]
    assert found.metrics["loss"]["value"] == pytest.approx(run.ended.test["loss"], rel=1e-5)
    assert found.confusion == confusion_matrix(true, said).tolist()
    expected = precision_recall_fscore_support(true, said, zero_division=np.nan)
    for name, values in zip(("precision", "recall", "f1"), expected[:3], strict=True):
        got = [np.nan if row[name] is None else row[name] for row in found.classes]
        np.testing.assert_allclose(got, values)
    bins = np.digitize(sure, np.linspace(0, 1, 16)[1:-1], right=True)
    parts = [(bins == b, (bins == b).mean()) for b in range(15) if (bins == b).any()]
    ece = sum(w * abs((true == said)[chosen].mean() - sure[chosen].mean()) for chosen, w in parts)
    assert found.ece == pytest.approx(ece, abs=1e-6)
    # the interval of a share by the normal approximation
    share, interval = found.metrics["accuracy"]["value"], found.metrics["accuracy"]
    half = 1.96 * np.sqrt(share * (1 - share) / len(true))
    assert interval["ci_low"] == pytest.approx(share - half, abs=0.01)
    assert interval["ci_high"] == pytest.approx(share + half, abs=0.01)


def pixels_of(images: torch.Tensor) -> list[bytes]:
    return sorted(image.numpy().tobytes() for image in images)


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
def test_other_pictures_are_evaluated_as_they_are_predicted() -> None:
    """By the training's rule for deep values and transparent parts, though these have other values."""
    odd_pictures(Path("mine"))
    run = a_run(data__dataset="folder", data__root="mine", data__resize=24, training__epochs=1)
    random = np.random.default_rng(1)
    for index in range(12):
        folder = Path("others", "ab"[index % 2])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(8000, 11000, (30, 30), np.uint16)).save(folder / f"{index}_deep.png")
        Image.fromarray(random.integers(0, 256, (30, 30, 4), np.uint8), "RGBA").save(folder / f"{index}_clear.png")
    found, doubts = load_for(run, {"data.root": "others"})
    images, _ = predictions.read_like(run.started, predictions.find_pictures(["others"]))
    assert pixels_of(torch.cat([split.inputs for split in found.splits.values()])) == pixels_of(images)
    assert not doubts
    own, doubts = load_for(run, {"data.root": "others", "data.rendering": [7000, 12000, 255]})
    assert pixels_of(own.train.inputs) != pixels_of(found.train.inputs)
    assert not doubts
    plain = a_run(data__resize=12, training__epochs=1, data__train_size=64)  # grey arrays of 8x8
    for index in range(30):
        folder = Path("digits", str(index % 10))
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (9 + index, 20, 3), np.uint8)).save(folder / f"{index}.png")
    found, doubts = load_for(plain, {"data.root": "digits"})
    images, _ = predictions.read_like(plain.started, predictions.find_pictures(["digits"]))
    assert pixels_of(torch.cat([split.inputs for split in found.splits.values()])) == pixels_of(images)
    assert found.image_shape == (1, 12, 12)
    assert not doubts


def test_a_rule_that_the_training_did_not_need_is_named() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(20) % 2
    grey = random.integers(0, 256, (20, 8, 8), np.uint8)
    np.savez("colour.npz", train_images=np.stack([grey] * 3, 3), train_labels=labels)
    np.savez("grey.npz", train_images=grey / 255, train_labels=labels)
    run = a_run(data__dataset="folder", data__root="colour.npz", training__epochs=1)
    found, doubts = load_for(run, {"data.root": "grey.npz"})
    assert [doubt for doubt in doubts if "data.rendering=[0, 1, 255]" in doubt] == doubts != []
    own = load_for(run)[0]
    assert torch.equal(found.test.inputs, own.test.inputs)  # the grey values are the colours
    darker, doubts = load_for(run, {"data.root": "grey.npz", "data.rendering": [0, 2, 255]})
    assert (darker.test.inputs - found.test.inputs / 2).abs().max() <= 0.5
    assert not doubts


def test_masks_are_evaluated(cli: Cli) -> None:
    run = a_run(
        data__dataset="shapes_masks",
        data__train_size=64,
        training__epochs=1,
        model__width=4,
        model__depth=1,
        optimizer__lr=0.01,
    )
    dataset = load_for(run)[0]
    found = evaluate(run, dataset)
    with torch.inference_mode():
        said = run.model(dataset.test.inputs).argmax(1).numpy().ravel()
    ious = jaccard_score(dataset.test.targets.numpy().ravel(), said, average=None)
    np.testing.assert_allclose([row["iou"] for row in found.classes], ious)
    assert found.metrics["mean_iou"]["value"] == pytest.approx(run.ended.test["mean_iou"])
    assert found.metrics["mean_iou"]["ci_low"] < np.nanmean(ious) < found.metrics["mean_iou"]["ci_high"]
    assert cli("evaluate", "last", "--plot", "figures").exit_code == 0
    assert Path("figures/reliability.png").exists()
    assert Path("figures/confusion.png").exists()
    Image.new("RGB", (40, 40)).save("a.png")
    assert re.fullmatch(r"a.png: \w+ [\d.]+%.*\n", cli("predict", "last", "a.png").stdout)


@pytest.mark.parametrize("kind", ["onnx", "pt2", "safetensors", "mlflow"])
def test_an_export_loads_by_its_readme(kind: str, cli: Cli) -> None:
    if kind == "onnx":
        for name in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(name)
    run = a_run()
    done = cli("export", "last", "--format", kind, "-o", "there", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["difference"] <= 1e-5
    (code,) = re.findall(r"```python\n(.*)```", Path("there/README.md").read_text(), re.DOTALL)
    loaded = subprocess.run([sys.executable, "-c", code], cwd="there", capture_output=True, text=True, check=True)
    with torch.inference_mode():
        expected = int(run.model(torch.zeros(1, 1, 8, 8, dtype=torch.uint8)).argmax())
    assert len(code.splitlines()) == 5
    assert loaded.stdout.split()[-1] == str(expected)
    assert cli("export", "last", "--format", kind, "-o", "there").exit_code == 2


MASKS = {"data__dataset": "mask_folder", "data__root": "masked", "data__resize": 18, "data__batch_size": 4}
NETWORKS = {
    "unet": {**MASKS, "model__width": 4, "model__depth": 1},
    "fcn": {**MASKS, "model__channels": [4, 8]},
    "torchvision/squeezenet1_1": {"data__resize": 32},
    "cnn": {"model__channels": [4, 8], "model__norm": "batch", "model__global_pool": True},
    "mlp": {"model__hidden": [8], "model__hidden_norm": "group", "model__activation": "gelu"},
    "resnet18": {"data__resize": 16, "model__width": 4},
    "vgg11": {"data__resize": 32, "model__width": 4, "model__norm": "batch", "model__hidden_norm": "batch"},
    "inception": {"data__resize": 16, "model__width": 4},
}
QUICK = ("unet", "torchvision/squeezenet1_1")


def a_network(name: str) -> trained.Trained:
    """Hardly trained."""
    random = np.random.default_rng(0)
    for index in range(12):
        for side, values in (
            ("images", random.integers(0, 256, (18, 18, 3))),
            ("masks", random.integers(0, 3, (18, 18))),
        ):
            Path("masked", side).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values.astype(np.uint8)).save(f"masked/{side}/{index}.png")
    train_size = 8 if "data__root" in NETWORKS[name] else 32
    settings = {"data__train_size": train_size, "model__name": name, **NETWORKS[name]}
    return a_run(training__epochs=1, optimizer__lr=0.01, **settings)


def answers_of(model: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(images)


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(n, marks=pytest.mark.long) for n in NETWORKS if n not in QUICK)]
)
def test_a_network_is_the_same_in_onnx(name: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    run = a_network(name)
    exporting.export(run, "onnx", Path("there"))
    session = onnxruntime.InferenceSession("there/model.onnx")
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == list(run.started.classes)
    for count in (1, 3):
        images = torch.randint(0, 256, (count, *run.started.image_shape)).byte()
        (scores,) = session.run(None, {"images": images.numpy()})
        assert_close(torch.from_numpy(scores), answers_of(run.model, images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", QUICK)
def test_a_network_is_the_same_in_the_formats_of_pytorch(name: str) -> None:
    run = a_network(name)
    images = torch.randint(0, 256, (3, *run.started.image_shape)).byte()
    for kind in ("pt2", "safetensors", "mlflow"):
        exporting.export(run, kind, Path(kind))
    loaded = {
        "pt2": torch.export.load("pt2/model.pt2").module(),
        "safetensors": exporting.read_safetensors("safetensors/model.safetensors"),
        "mlflow": mlflow.pytorch.load_model("mlflow/model").eval(),
    }
    for kind, model in loaded.items():
        assert_close(answers_of(model, images), answers_of(run.model, images), rtol=1e-5, atol=1e-6, msg=kind)


def test_an_export_that_differs_is_not_kept(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    a_run()
    monkeypatch.setattr("cnnlab.reading.exporting.TOLERANCE", -1.0)
    done = cli("export", "last", "--format", "safetensors", "-o", "there")
    assert done.exit_code == 1
    assert "differs from the original" in done.stderr
    assert not Path("there").exists()


def test_features_are_those_of_the_layer(cli: Cli) -> None:
    run = a_run()
    done = cli("features", "last", "-o", "f.npz", "--fit", "logistic")
    assert done.exit_code == 0, done.output
    arrays, dataset = read("f.npz"), load(run.config.data, 0)
    with torch.inference_mode():
        expected = torch.nn.Sequential(run.model.normalize, *list(run.model.network)[:-1])(dataset.test.inputs)
    np.testing.assert_allclose(arrays["test"], expected.numpy(), rtol=1e-4, atol=1e-5)
    assert arrays["test_labels"].tolist() == dataset.test.targets.tolist()
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    score = model.fit(arrays["train"], arrays["train_labels"]).score(arrays["test"], arrays["test_labels"])
    assert f"test accuracy {score:.4f}" in done.stdout
    Image.new("L", (8, 8)).save("a.png")
    assert cli("features", "last", "a.png", "-o", "g.npz", "--layer", "0").exit_code == 0
    assert read("g.npz")["features"].shape == (1, 16)


BAD = [
    ("predict nothing a.png", "nothing"),
    ("predict last", "IMAGE"),
    ("predict last a.png ''", "'' is not allowed"),
    ("predict last empty", "this folder has no images"),
    ("predict last a.png --csv --json", "keep one"),
    ("predict last a.png --device foo", "place.device"),
    ("predict last a.png --top 0", "--top"),
    ("evaluate nothing", "nothing"),
    ("evaluate last --dataset shapes", "it lacks '0'"),
    ("evaluate last --dataset shapes_masks", "it is for segmentation"),
    ("evaluate last --dataset nope", "dataset"),
    ("evaluate last --data-root nope", "data.root"),
    ("evaluate last --split some", "--split"),
    ("evaluate last --dataset xor", "it lacks '2'"),
    ("evaluate last --dataset digits --data-root empty", "digits is built in"),
    ("evaluate last --data-root two", "it lacks '0'"),
    ("evaluate last --data-root empty", "data.root"),
    ("evaluate last -s data.resize=12", "samples of 1x12x12, but the network takes 1x8x8"),
    ("evaluate last -s data.resize=0", "data.resize: 0 is not allowed"),
    ("evaluate last -s data.rendering=[3,2,1]", "low < high"),
    ("evaluate last -s optimizer.lr=1", "must be a setting of data"),
    ("evaluate last -s data.root=a --data-root b", "given twice"),
    ("predict last a.png --resize 12", "--resize: 12 is not allowed; this network takes 1x8x8"),
    ("predict last a.png --resize 0", "--resize"),
    ("evaluate last --plot a.png", "--plot: 'a.png' is not allowed"),
    ("export last", "--format"),
    ("export last --format pt2 -o a.png/there", "--output: a.png/there cannot be made"),
    ("features last a.png -o nowhere/f.npz", "--output: 'nowhere/f.npz' is not allowed; it must be the name of a file"),
    ("features last a.png -o ''", "--output: '' is not allowed; it must be the name of a file"),
    ("export last --format zip", "zip"),
    ("export last --format pt2 -o full", "not an empty folder"),
    ("features last", "--output"),
    ("features last a.png --fit knn", "leave out the images"),
    ("features last --fit knn --layer nope", "'nope' is not a layer"),
    ("features last empty -o f.npz", "this folder has no images"),
]


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
def test_bad_input_is_one_line(cli: Cli) -> None:
    a_run(training__epochs=1, data__train_size=128)
    Path("empty").mkdir()
    Path("full").mkdir()
    Path("full/README.md").write_text("mine")
    odd_pictures(Path("two"))
    Image.new("L", (8, 8)).save("a.png")
    for words, said in BAD:
        done = cli(*shlex.split(words))
        assert done.exit_code == 2, (words, done.output)
        assert done.stderr.count("\n") == 1, (words, done.stderr)
        assert said in done.stderr, (words, done.stderr)
