"""`inspect`: all pictures of a trained network and one HTML page, written into a folder."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from cnnlab.data import Split, load
from cnnlab.errors import BadInput, shortened
from cnnlab.look import save
from cnnlab.page import Table, page, picture
from cnnlab.reading import inspection as numbers
from cnnlab.reading import inspection_figures as figures
from cnnlab.reading.run_figures import confusion_figure, masks_figure
from cnnlab.reading.trained import Trained, load_trained
from cnnlab.result import Result
from cnnlab.tasks.classification import square

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = "inspect"
"""Below a run's directory; MLflow gets its files as artifacts."""
PAGE = "inspect.html"
MOST_WORST, MOST_MASKS, MOST_PAIRS = 24, 8, 10
MOST_UNITS, BEST_IMAGES = 8, 7
EMBEDDED = 1000
"""The number of points of the embedding, at most."""


class Drawn(NamedTuple):
    file: str
    heading: str
    figure: "Figure"


class Inspector:
    """A trained network with the test split that it was measured on.

    Args:
        images: how many test images are explained, from the first on, or their indices.
        layer: whose units are shown; None for the last convolution.

    Raises:
        BadInput: the run has not finished, its images have changed, there is no such image or layer, or no Captum.
        RunFailed: its weights are damaged.
    """

    def __init__(self, path: Path, images: int | Sequence[int], layer: str | None) -> None:
        if find_spec("captum") is None:
            raise BadInput('inspect needs Captum; install it with: pip install "cnnlab[inspect]"')
        self.trained: Trained = load_trained(path)
        config, started = self.trained.config, self.trained.started
        if started.has_points:
            word = self.trained.run.run_id
            raise BadInput(
                f"{word}: {started.dataset} has no images to inspect but points; cnnlab show {word} --plot DIR"
            )
        dataset = load(config.data, config.training.seed)
        if dataset.digest != started.dataset_digest:
            raise BadInput(
                f"{self.trained.run.run_id}: its images have changed since it was trained "
                f"({started.dataset_source}); put the old ones back, or train again"
            )
        self.test: Split = dataset.test
        self.classes = started.classes
        self.has_masks = self.test.targets.dim() == 3
        self.indices = range(min(images, len(self.test))) if isinstance(images, int) else images
        if wrong := [index for index in self.indices if not 0 <= index < len(self.test)]:
            raise BadInput(f"--images {wrong[0]}: no such test image; they are numbered 0 to {len(self.test) - 1}")
        model = self.trained.model
        numbers.keep_outputs(model)
        self.normalize: nn.Module = model.normalize  # type: ignore[assignment]
        self.network: nn.Module = model.network  # type: ignore[assignment]
        self.chosen = self.test.take(torch.tensor(self.indices, dtype=torch.int64))
        self.layers = numbers.layers_of(self.network, self.normalize(self.chosen.inputs[:1]))
        self.layer = numbers.chosen_layer(self.layers, layer)
        last = self.layers[-1].module
        self.answers = numbers.answers_on(model, self.trained.task, self.test, last, EMBEDDED)

    def title(self, words: str) -> str:
        return f"{self.trained.run.run_id}: {words}"

    @property
    def worst(self) -> list[int]:
        return numbers.worst_of(self.answers, self.test.targets, MOST_MASKS if self.has_masks else MOST_WORST)

    @property
    def confusion(self) -> tuple[tuple[int, ...], ...]:
        counts = self.trained.task.count(self.answers.predicted, self.test.targets)  # type: ignore[attr-defined]
        return square(counts.tolist(), len(self.classes))

    def caption(self, index: int) -> str:
        """`4 → 9 (0.98)`: the true class, the predicted one, and its probability."""
        if self.has_masks:
            return f"{index}: IoU {1 - float(self.answers.badness[index]):.2f}"
        true, predicted = (self.classes[int(t[index])] for t in (self.test.targets, self.answers.predicted))
        return f"{index}: {true}\n→ {predicted} ({float(self.answers.probability[index]):.2f})"

    # the pictures

    def draw(self) -> Iterator[Drawn]:
        """All pictures, those of errors first."""
        if self.worst:
            yield self._draw_worst()
        yield Drawn(
            "confusion.png",
            "Confusion matrix of the test split",
            confusion_figure(self.confusion, self.classes, self.title("confusion")),
        )
        yield from self._draw_attributions()
        yield from self._draw_activations()
        yield self._draw_filters()
        yield self._draw_exciting()
        yield from self._draw_embedding()

    def _draw_worst(self) -> Drawn:
        split = self.test.take(torch.tensor(self.worst))
        if self.has_masks:
            answers = self.answers.predicted[self.worst]
            shown = {"inputs": split.inputs, "targets": split.targets, "answers": answers}
            arrays = {name: tensor.numpy() for name, tensor in shown.items()}
            title = self.title("lowest mean IoU first")
            return Drawn("worst.png", "Worst masks", masks_figure(arrays, self.classes, title))
        captions = [self.caption(index) for index in self.worst]
        title = self.title("largest loss first: true → predicted (its probability)")
        return Drawn("worst.png", "Worst errors", figures.images_figure(split.inputs, captions, title))

    def _draw_attributions(self) -> Iterator[Drawn]:
        images = self.normalize(self.chosen.inputs)
        with torch.no_grad():
            classes = numbers.explained_classes(self.network(images))
        maps = numbers.attributions(self.network, images, classes)
        captions = [
            f"{index}: explains\n{self.classes[number]}"
            for index, number in zip(self.indices, classes.tolist(), strict=True)
        ]
        words = "red raises the score, blue lowers it"
        figure = figures.attributions_figure(self.chosen.inputs, maps, captions, self.title(words))
        yield Drawn("attributions.png", "Which pixels matter", figure)

    def _draw_activations(self) -> Iterator[Drawn]:
        outputs = numbers.outputs_of(self.network, self.normalize(self.chosen.inputs))
        for row, index in enumerate(self.indices):
            of_image = {name: output[row] for name, output in outputs.items()}
            title = self.title(f"test image {index}, before each activation: red positive, blue negative")
            figure = figures.activations_figure(self.chosen.inputs[row], of_image, title)
            yield Drawn(f"activations-{index}.png", f"Activations of test image {index}", figure)

    def _draw_filters(self) -> Drawn:
        first = {layer.name: layer.module for layer in self.layers[:2]}
        figure = figures.filters_figure(first, self.trained.started.image_shape, self.title("filters"))
        return Drawn("filters.png", "Filters of the first and the second layer", figure)

    def _draw_exciting(self) -> Drawn:
        values = numbers.excited_by(self.network, self.normalize, self.layer, self.test.inputs)
        units = values.amax(0).argsort(descending=True, stable=True)[:MOST_UNITS].tolist()
        shape = self.test.inputs.shape[1:]
        made = numbers.synthesised(self.network, self.normalize, self.layer, units, values.amax(0)[units], shape)
        of_made = numbers.excited_by(self.network, self.normalize, self.layer, made)
        shown: dict[int, tuple[Tensor, Sequence[float]]] = {}
        for row, unit in enumerate(units):
            best = values[:, unit].argsort(descending=True, stable=True)[:BEST_IMAGES]
            activations = [float(of_made[row, unit]), *values[best, unit].tolist()]
            shown[unit] = torch.cat([made[row][None], self.test.inputs[best].float()]), activations
        title = self.title(f"what excites units of layer {self.layer.name}, and how much (mean of the positive part)")
        return Drawn("exciting.png", "What excites a unit most: made, and found", figures.exciting_figure(shown, title))

    def _draw_embedding(self) -> Iterator[Drawn]:
        points = numbers.embedding(self.answers.hidden)
        if points is not None:
            what = "pixels" if self.has_masks else "images"
            title = self.title(f"{len(points.pca):,} test {what} before the last layer")
            classes = self.answers.hidden_classes.tolist()
            figure = figures.embedding_figure(points, classes, self.classes, title)
            yield Drawn("embedding.png", "The last hidden layer in two dimensions", figure)

    # the numbers

    def result(self, files: Sequence[Path]) -> Result:
        """The object that `inspect --json` prints."""
        pairs = numbers.confused_pairs(self.confusion, MOST_PAIRS)
        return Result(
            {
                "run_id": self.trained.run.run_id,
                "files": [str(file) for file in files],
                "layer": self.layer.name,
                "layers": [layer.name for layer in self.layers],
                "images": list(self.indices),
                "test_images": len(self.test),
                "confused": [{"true": self.classes[t], "predicted": self.classes[p], "count": n} for t, p, n in pairs],
                "worst": [self._worst_json(index) for index in self.worst],
            }
        )

    def _worst_json(self, index: int) -> dict[str, Any]:
        if self.has_masks:
            return {"image": index, "mean_iou": 1 - float(self.answers.badness[index])}
        return {
            "image": index,
            "true": self.classes[int(self.test.targets[index])],
            "predicted": self.classes[int(self.answers.predicted[index])],
            "probability": float(self.answers.probability[index]),
            "loss": float(self.answers.badness[index]),
        }


def inspect_run(inspector: Inspector, folder: Path) -> Result:
    """Write all pictures and the page into a folder, in place of those of an earlier call.

    Raises BadInput if the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{shortened(str(folder))}: the pictures' folder cannot be made ({error.strerror})") from None
    for earlier in folder.glob("activations-*.png"):  # the other pictures have the same names each time
        if earlier.stem.removeprefix("activations-").isdigit():
            earlier.unlink()
    html, shown = folder / PAGE, []
    for file, heading, figure in inspector.draw():
        shown.append((save(figure, folder / file, dpi=100), heading))
    result = inspector.result([*(path for path, _ in shown), html])
    html.write_text(_page(inspector, result, [picture(*one) for one in shown]), encoding="utf-8")
    return result


def _page(inspector: Inspector, result: Result, shown: Sequence[Any]) -> str:
    unit = "pixels" if inspector.has_masks else "images"
    rows = [[pair["true"], pair["predicted"], f"{pair['count']:,}"] for pair in result["confused"]]
    ended = inspector.trained.ended
    score = f"{ended.score} {ended.test_score:.4f}" if ended.test_score is not None else ""
    return page(
        f"Inside {result['run_id']}",
        lead=f"{inspector.trained.started.model} on {inspector.trained.started.dataset}: test {score}",
        tables=[Table(("true class", "predicted class", f"test {unit}"), rows, "The most frequent errors.")],
        figures=shown,
    )
