"""What a claim can measure: named functions of a finished run, and of a network that has not been trained.

Each names its source. `MEASURES` and `EXACT` of `claim.py` list them, so that a claim is read without PyTorch.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from statistics import fmean, median, stdev

import torch
from torch import Tensor, nn

from cnnlab.config import RunConfig
from cnnlab.data import Dataset, Split, load
from cnnlab.metrics import Metric
from cnnlab.models import sized_layers
from cnnlab.models.sizes import SizedLayer
from cnnlab.reading.diagnosis import Curves, curves_of
from cnnlab.reading.features import features_of_dataset, fit
from cnnlab.reading.trained import Trained, load_trained, with_weights
from cnnlab.run import prepare
from cnnlab.tracking import RunDir
from cnnlab.training import Learner, Network, below, load_latest
from cnnlab.training.network import measure_part


@dataclass(frozen=True)
class Ended:
    """A run that has ended, and what is computed from it once."""

    run: RunDir

    @cached_property
    def curves(self) -> Curves:
        return curves_of(self.run)

    @cached_property
    def trained(self) -> Trained:
        """With the weights of the best epoch."""
        return load_trained(self.run.path)

    @cached_property
    def dataset(self) -> Dataset:
        return load(self.trained.config.data, self.trained.config.training.seed)

    @property
    def score(self) -> Metric:
        return self.curves.started.score

    @cached_property
    def last(self) -> Network:
        """The network with the weights of the last epoch."""
        checkpoint = load_latest(self.run.checkpoints, self.trained.ended.step)
        assert checkpoint is not None
        model = with_weights(self.trained.task, below("model.", checkpoint.tensors))
        return Network(self.trained.task, model, torch.device("cpu"), "fp32")


def best_score(run: Ended) -> float:
    """Best validation score of all epochs; the metric's worst value if the run diverged before its first."""
    best = run.score.best(run.curves.scores)
    return run.score.worst if best is None else best


def last_score(run: Ended) -> float:
    """Validation score after the last epoch; the metric's worst value if the run diverged."""
    return run.score.worst if run.curves.ended is None or run.curves.ended.diverged else run.curves.scores[-1]


def last_loss(run: Ended) -> float:
    """Training loss of the last epoch (nats)."""
    return run.curves.train[-1]


def loss_rise(run: Ended) -> float:
    """Validation loss after the last epoch, less the lowest of all epochs (nats): 0 before a network overfits.

    Course page, "Epochs and batch size".
    """
    return run.curves.val[-1] - min(run.curves.val)


def gap(run: Ended) -> float:
    """Validation loss less training loss (nats), both with the last weights and without dropout or augmentation.

    Goodfellow et al. 2016, section 5.2: the gap between training and generalization error.
    """
    val, train = (_measure(run.last, split)["loss"] for split in (run.dataset.val, run.dataset.train))
    return val - train


def loss_noise(run: Ended) -> float:
    """Standard deviation of the steps' losses around their trend, as a share of the mean loss, in the first epoch.

    Of differences of neighbours, to which a trend adds next to nothing; the noise that `cnnlab diagnose` names. The
    first epoch has the same images for all batch sizes; with fewer than LEAST_STEPS steps the next ones count too.
    """
    first = run.curves.losses[: max(run.curves.started.steps_per_epoch, LEAST_STEPS)]
    if len(first) < 3:
        return math.nan
    return stdev(after - before for before, after in pairwise(first)) / math.sqrt(2) / fmean(first)


LEAST_STEPS = 10
"""The number of steps over which noise is measured if an epoch has fewer."""


def epochs_to(run: Ended, target: float) -> float:
    """The number of epochs until the validation score is as good as `target`; one more than all if it never is.

    Time to a target: Dahl et al. 2023 (AlgoPerf), section 4.1.
    """
    scores = run.curves.scores
    return next((n for n, score in enumerate(scores, 1) if run.score.reaches(score, target)), len(scores) + 1)


def trains(run: Ended, target: float) -> float:
    """1 if the best validation score is as good as `target`, else 0: over learning rates, the share that trains.

    Goodfellow et al. 2016, section 8.5: algorithms differ in how robust they are to the learning rate.
    """
    return float(run.score.reaches(best_score(run), target))


def first_gradient(run: Ended) -> float:
    """Norm of the first layer's gradient over that of the last layer's, at step 1; needs training.record_norms.

    Glorot and Bengio 2010, section 4.2: gradients that shrink from layer to layer.
    """
    norms = list(run.curves.norms[0].gradients.values())
    return norms[0] / norms[-1]


def images_per_second(run: Ended) -> float:
    """Training images per second, the median of the epochs, evaluation included. It depends on the machine's load."""
    return median(epoch.images_per_second for epoch in run.curves.epochs)


def shift_drop(run: Ended, pixels: float) -> float:
    """Validation score less its mean over validation images shifted by so many pixels in 4 directions; not for masks.

    Goodfellow et al. 2016, section 9.3: pooling and small translations. Pixels that come in have the image's border.
    """
    val, by = run.dataset.val, int(pixels)
    moves = [(-by, 0), (by, 0), (0, -by), (0, by)]
    shifted = [Split(_shifted(val.inputs, *move), val.targets) for move in moves]
    network = run.trained.on("cpu")
    scores = [_measure(network, split)[run.score.name] for split in (val, *shifted)]
    return scores[0] - fmean(scores[1:])


def _shifted(images: Tensor, down: int, right: int) -> Tensor:
    height, width = images.shape[-2:]
    rows = (torch.arange(height) - down).clamp(0, height - 1)
    columns = (torch.arange(width) - right).clamp(0, width - 1)
    return images[..., rows[:, None], columns]


def _measure(network: Network, split: Split) -> Mapping[str, float]:
    return network.task.metrics([measure_part(network, split)], len(split)).metrics


def linear_probe(run: Ended) -> float:
    """Test accuracy of logistic regression on the input of the last layer: raw pixels for the perceptron.

    Alain and Bengio 2016: linear classifier probes.
    """
    return fit(features_of_dataset(run.trained, run.dataset, None, "cpu"), "logistic")


def low_frequencies(run: Ended) -> float:
    """Share of the power of the first convolution's filters at frequencies up to a quarter per pixel, without the mean.

    White noise has about a fifth of its power there; the edges and gratings of Krizhevsky et al. 2012, figure 3, most.
    """
    first = next(layer for layer in run.trained.model.modules() if isinstance(layer, nn.Conv2d))
    filters = first.weight.detach()
    power = torch.fft.fft2(filters - filters.mean((-2, -1), keepdim=True), s=(SIDE, SIDE)).abs() ** 2
    axis = torch.fft.fftfreq(SIDE)
    low = (axis[:, None] ** 2 + axis**2).sqrt() <= LOW
    return float((power[..., low].sum(-1) / power.sum((-2, -1))).mean())


SIDE, LOW = 32, 0.25
"""Of the spectrum of a filter: its points per side, and the highest low frequency, in cycles per pixel."""


def parameters(network: Learner) -> float:
    """Trained numbers of the network."""
    return network.parameters


def first_parameters(network: Learner) -> float:
    """Trained numbers of the first layer."""
    return sum(weights.numel() for weights in _first(network).layer.parameters())


def first_outputs(network: Learner) -> float:
    """Neurons of the first layer: its output values for one image."""
    return math.prod(_first(network).output_shape)


def size_kept(network: Learner) -> float:
    """Side of the first layer's output over that of its input: (InputSize - KernelSize + 2*Padding)/Stride + 1.

    Course page, "CNN Parameters"; Dumoulin and Visin 2016, relationship 6. Here of the layer itself.
    """
    first = _first(network)
    return first.output_shape[-1] / first.input_shape[-1]


def _first(network: Learner) -> SizedLayer:
    image = torch.zeros(1, *network.dataset.image_shape, dtype=torch.uint8)
    return sized_layers(network.model, lambda: network.model(image))[0]


def check_measurable(name: str, numbers: tuple[float, ...], network: Learner) -> None:
    """Raises ValueError if the trainings of this network cannot be measured so."""
    images, classes = len(network.dataset.image_shape) == 3, network.config.task.name == "classification"
    if name == "first_gradient" and not network.config.training.record_norms:
        raise ValueError("it needs training.record_norms; set it to true in base")
    if name == "shift_drop" and not (numbers[0] >= 1 and numbers[0].is_integer()):
        raise ValueError(f"{numbers[0]:g} is not allowed; it must be a whole number of pixels >= 1")
    if name == "shift_drop" and not (images and classes):
        raise ValueError("it needs images with one class each; leave it out")
    if name == "linear_probe" and not classes:
        raise ValueError("it needs samples with one class each; leave it out")
    if name == "low_frequencies" and not any(isinstance(layer, nn.Conv2d) for layer in network.model.modules()):
        raise ValueError(f"{network.config.model.name} has no convolution; leave it out")
    if name == "size_kept" and not isinstance(_first(network).layer, nn.Conv2d):
        raise ValueError(f"the first layer of {network.config.model.name} is not a convolution; leave it out")
    if name in ("epochs_to", "trains"):
        network.config.task.metric.check_target(numbers[0])


AFTER_DIVERGENCE = ("best_score", "last_score", "epochs_to", "trains")
"""Those that a run has which diverged."""


def measured(name: str, numbers: tuple[float, ...], run: Ended) -> float | None:
    """None if the run diverged and the measure needs what it did not reach, or is not finite."""
    ended = run.curves.ended
    if ended is None or (ended.diverged and name not in AFTER_DIVERGENCE):
        return None
    value = float(globals()[name](run, *numbers))
    return value if math.isfinite(value) else None


def exactly(name: str, config: RunConfig) -> float:
    """The value of a measure of arithmetic, for a network as it is before it is trained."""
    return float(globals()[name](prepare(config)))


def resolution(name: str, run: Ended) -> float:
    """The smallest step between two values: one validation image, one epoch, 0 or 1; 0 if there is none."""
    if name in ("best_score", "last_score") and run.score.counts_samples:
        return 1 / run.curves.started.val_size
    return float(name in ("epochs_to", "trains"))
