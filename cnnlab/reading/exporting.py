"""A run's network as a file for other programs, compared with the original before it counts as written."""

import importlib.util
import json
import os
import tempfile
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from cnnlab.config import as_config
from cnnlab.data import load
from cnnlab.errors import BadInput, RunFailed, shortened
from cnnlab.reading.trained import Trained, with_weights
from cnnlab.result import Result
from cnnlab.tasks import make_task
from cnnlab.tracking.delivery import load_mlflow_model, save_mlflow_model

Array = np.ndarray[Any, Any]
Network = Callable[[Tensor], Tensor | Array]

TOLERANCE = 1e-5
"""The largest difference of the outputs, relative to the largest output if that is more than 1."""
IMAGES = 64
"""The number of test images on which the two are compared."""
NEEDED = ("onnx", "onnxscript", "onnxruntime")


class Format(NamedTuple):
    """How a network is written, how it is loaded again, and the lines of Python that load it."""

    file: str
    write: Callable[[Trained, Tensor, Path], None]
    """From the run, a batch of 2 images and the file."""
    read: Callable[[Path], Network]
    lines: str


def export(trained: Trained, kind: str, into: Path | None = None) -> Result:
    """Write the network and a README into a new folder, if its outputs for test images of the run are the original's.

    The file takes (N, C, H, W) uint8, or points (N, 2) float32, for any N: normalisation is in it, and so are the names
    of the classes.

    Args:
        kind: one of `FORMATS`.
        into: the folder; None for RUN_ID-KIND in the present folder.

    Returns:
        `file`, `format`, `images` (the number compared) and `difference`, the largest.

    Raises:
        BadInput: the folder has files, a library is missing, or the run's images are not there.
        RunFailed: the outputs differ by more than `TOLERANCE`.
    """
    folder, form = into or Path(f"{trained.run.run_id}-{kind}"), FORMATS[kind]
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"--output: {shortened(str(folder))} is there and not an empty folder; give a new one")
    if kind == "onnx" and (missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]):
        raise BadInput(f"--format: onnx needs {', '.join(missing)}; pip install 'cnnlab[export]'")
    images = load(trained.config.data, trained.config.training.seed).test.inputs[:IMAGES]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".exported-") as temporary:
        file = Path(temporary) / form.file
        with warnings.catch_warnings(), redirect_stdout(StringIO()):  # the exporters' notes on their progress
            warnings.simplefilter("ignore")
            form.write(trained, torch.cat([images[:1]] * 2), file)
            difference = _difference(trained.model, form.read(file), images)
        if not difference <= TOLERANCE:
            raise RunFailed(
                f"the exported network differs from the original by {difference:.1e} on {len(images)} test "
                f"{trained.started.samples}; at most {TOLERANCE:.0e} is allowed; nothing was written; "
                "try another --format"
            )
        (Path(temporary) / "README.md").write_text(_readme(trained, kind, len(images), difference), encoding="utf-8")
        os.chmod(temporary, 0o755)
        os.replace(temporary, folder)
        os.mkdir(temporary)  # for the context to remove
    return Result({"file": str(folder / form.file), "format": kind, "images": len(images), "difference": difference})


def _difference(original: nn.Module, exported: Network, images: Tensor) -> float:
    """The largest difference for all images at once and for the first alone, relative to the largest output."""
    differences = []
    with torch.inference_mode():
        for some in (images, images[:1]):
            expected, found = original(some), torch.as_tensor(exported(some))
            differences.append((found - expected).abs().max() / expected.abs().max().clamp(min=1))
    return float(torch.stack(differences).max())


def _readme(trained: Trained, kind: str, images: int, difference: float) -> str:
    started = trained.started
    shape = ", ".join(map(str, started.image_shape))
    return (
        f"# {trained.run.run_id}\n\n{started.model} trained on {started.dataset}. It takes "
        f"{started.samples} of (N, {shape}) {started.input_dtype} as they are stored, and "
        f"returns scores of (N, {', '.join(map(str, started.output_shape))}); softmax "
        "over axis 1 gives probabilities.\n"
        f"On {images} test {started.samples} its outputs differ from the original's by at most {difference:.1e}.\n\n"
        f"```python\n{FORMATS[kind].lines.format(shape=shape, dtype=started.input_dtype)}```\n"
    )


def _names(trained: Trained) -> str:
    return json.dumps(trained.started.classes)


def _write_onnx(trained: Trained, two: Tensor, file: Path) -> None:
    program = torch.onnx.export(
        trained.model,
        (two,),
        dynamo=True,
        verbose=False,
        input_names=["images"],
        output_names=["scores"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    assert program is not None
    program.model.metadata_props["classes"] = _names(trained)
    program.save(file)


def _read_onnx(file: Path) -> Network:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images.numpy()})[0]


def _write_pt2(trained: Trained, two: Tensor, file: Path) -> None:
    program = torch.export.export(trained.model, (two,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, file, extra_files={"classes": _names(trained)})


def _write_safetensors(trained: Trained, two: Tensor, file: Path) -> None:
    about = {"config": trained.config.model_dump(mode="json"), "image_shape": trained.started.image_shape}
    weights = {name: tensor.contiguous() for name, tensor in trained.model.state_dict().items()}
    save_file(weights, file, metadata={"classes": _names(trained), **{key: json.dumps(x) for key, x in about.items()}})


def read_safetensors(file: str | Path) -> nn.Module:
    """The network of a file that `cnnlab export --format safetensors` wrote, in evaluation mode.

    It takes what the run's network took.
    """
    with safe_open(file, framework="pt") as opened:
        about = {key: json.loads(text) for key, text in opened.metadata().items()}
        weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (not a dict)
    task = make_task(as_config(about["config"], f"{file}: "), tuple(about["classes"]), tuple(about["image_shape"]))
    return with_weights(task, weights)


def _write_mlflow(trained: Trained, two: Tensor, file: Path) -> None:
    save_mlflow_model(trained.model, file, trained.started)


FORMATS = {
    "onnx": Format(
        "model.onnx",
        _write_onnx,
        _read_onnx,
        """\
import json, numpy, onnxruntime
network = onnxruntime.InferenceSession("model.onnx")
classes = json.loads(network.get_modelmeta().custom_metadata_map["classes"])
images = numpy.zeros((1, {shape}), numpy.{dtype})
print(classes[network.run(None, {{"images": images}})[0][0].argmax(0).flat[0]])
""",
    ),
    "pt2": Format(
        "model.pt2",
        _write_pt2,
        lambda file: torch.export.load(file).module(),
        """\
import json, torch
kept = {{"classes": ""}}
network = torch.export.load("model.pt2", extra_files=kept).module()
images = torch.zeros(1, {shape}, dtype=torch.{dtype})
print(json.loads(kept["classes"])[network(images)[0].argmax(0).flatten()[0]])
""",
    ),
    "safetensors": Format(
        "model.safetensors",
        _write_safetensors,
        read_safetensors,
        """\
import torch
from cnnlab.reading.exporting import read_safetensors
network = read_safetensors("model.safetensors")  # its metadata has classes, config and image_shape as JSON
images = torch.zeros(1, {shape}, dtype=torch.{dtype})
print(network(images)[0].argmax(0).flatten()[0].item())
""",
    ),
    "mlflow": Format(
        "model",
        _write_mlflow,
        load_mlflow_model,
        """\
import mlflow, numpy
network = mlflow.pyfunc.load_model("model")  # needs the package cnnlab
classes = network.metadata.metadata["classes"]
images = numpy.zeros((1, {shape}), numpy.{dtype})
print(classes[network.predict(images)[0].argmax(0).flat[0]])
""",
    ),
}
"""Name -> the format."""
