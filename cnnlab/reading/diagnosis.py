"""Findings about a run: rules over its journal; and rules over its images, which need the trained network.

The limits were chosen on the runs of `benchmarks/diagnose.py chosen` and checked on others (docs/diagnose.md).
"""

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from cnnlab.errors import BadInput
from cnnlab.files import from_here
from cnnlab.records import Epoch, Norms, Record, RunCreated, RunEnded, RunStarted, Steps
from cnnlab.result import listed, short
from cnnlab.tracking import RunDir, last, read

if TYPE_CHECKING:
    from torch import Tensor, nn

PLAYBOOK = "Google's tuning playbook, "
CURVES = PLAYBOOK + '"Examining the training curves"'
FAILURES = PLAYBOOK + '"How can optimization failures be debugged and mitigated?"'
INSIGHT = PLAYBOOK + '"Extracting insight from experimental results"'
COURSE = "course page, "
BATCH_SIZE = COURSE + '"Epochs and batch size"'
LEARNING_RATE = COURSE + '"Learning Rate"'

MATTERS = 0.02
"""A difference of losses counts from this share of the loss of guessing on."""
OVERFITTING = 1.15
"""Validation loss at the end, as a multiple of its lowest value."""
STILL_FALLING = 0.95
"""Lowest validation loss of the last quarter, as a multiple of the lowest before."""
SMOOTH = 5
"""Steps over which the training loss is averaged."""
RISE = 1.05
"""Highest training loss, averaged, as a multiple of the first step's or that of guessing."""
BOUNCE = 0.05
"""Rise of the training loss from one epoch to the next, as a share of the loss of guessing."""
EXPLOSION = 10.0
STILL = 0.01
"""The range of a validation accuracy that does not move."""
SMALL_BATCH = 16
NOISE = 0.13
"""Standard deviation of a step's loss around its trend, as a share of the whole fall of the loss."""
DEAD = 0.7
VANISHING = 1e-3
"""Gradient norm of the first layer, as a multiple of the last layer's."""
EXPLODING = 10.0
"""Norm of a layer's gradient, as a multiple of its weights'."""
FEW_IMAGES = 10
CONFIDENT = 0.9
DUPLICATES = 0.005


@dataclass(frozen=True)
class Finding:
    name: str
    """The key in JSON and in MLflow's tags."""
    title: str
    """A few words."""
    text: str
    """A sentence with the numbers."""
    source: str
    """Of the rule."""
    command: str
    """What to do next."""
    is_fault: bool = True
    """False: a list to look at."""


@dataclass(frozen=True)
class Curves:
    """What the journal of a run has, as the rules read it."""

    records: Sequence[Record]
    config_file: str
    run: str
    """The run's name in a command."""

    @cached_property
    def config(self) -> Mapping[str, Any]:
        return next(record.config for record in self.records if isinstance(record, RunCreated))

    @cached_property
    def started(self) -> RunStarted:
        return next(record for record in self.records if isinstance(record, RunStarted))

    @cached_property
    def ended(self) -> RunEnded | None:
        return last(self.records, RunEnded)

    @cached_property
    def epochs(self) -> list[Epoch]:
        return [record for record in self.records if isinstance(record, Epoch)]

    @cached_property
    def norms(self) -> list[Norms]:
        return [record for record in self.records if isinstance(record, Norms)]

    @cached_property
    def losses(self) -> list[float]:
        """Of each step."""
        return [loss for record in self.records if isinstance(record, Steps) for loss in record.losses]

    @cached_property
    def smooth(self) -> list[float]:
        """Means of SMOOTH consecutive steps, each at the last of them."""
        return [fmean(self.losses[end - SMOOTH : end]) for end in range(SMOOTH, len(self.losses) + 1)]

    @cached_property
    def guessing(self) -> float:
        """The loss of guessing: the entropy of the training classes; without classes, the first step's loss."""
        counts = self.started.counts.get("train", ())
        entropy = -sum(n / sum(counts) * math.log(n / sum(counts)) for n in counts if n)
        return entropy if entropy and self.config["loss"]["name"] == "cross_entropy" else self.losses[0]

    @property
    def train(self) -> list[float]:
        """Training loss of each epoch."""
        return [epoch.train["loss"] for epoch in self.epochs]

    @property
    def val(self) -> list[float]:
        """Validation loss after each epoch."""
        return [epoch.val["loss"] for epoch in self.epochs]

    @property
    def scores(self) -> list[float]:
        """Validation score after each epoch."""
        return [epoch.val[self.started.score.name] for epoch in self.epochs]

    def error_of(self, score: float) -> float:
        """One standard error of a validation score; for a score that counts no samples, the margin that matters."""
        metric, size = self.started.score, self.started.val_size
        if not metric.counts_samples or not size:
            return metric.margin
        share = (score * size + 1) / (size + 2)  # never 0 or 1
        return math.sqrt(share * (1 - share) / size)

    def again(self, *words: str) -> str:
        """The command that trains the run's config again, with changes."""
        return shlex.join(["cnnlab", "train", self.config_file, *words])

    def with_rate(self, factor: float) -> str:
        return self.again("--lr", short(self.config["optimizer"]["lr"] * factor))


def overfitting(curves: Curves) -> Finding | None:
    val = [fmean(group) for group in zip(curves.val, curves.val[1:], curves.val[2:], strict=False)]  # less noise
    if len(val) < 3:
        return None
    lowest, end = min(val), fmean(curves.val[-max(3, len(val) // 4) :])
    best = val.index(lowest) + 2
    train = curves.train[best - 1], curves.train[-1]
    if end < OVERFITTING * lowest or end - lowest < MATTERS * curves.guessing or train[1] >= train[0]:
        return None
    return Finding(
        "overfitting",
        f"overfitting from epoch {best}",
        f"from epoch {best} on the validation loss rose from {lowest:.3g} to {end:.3g}, while the training loss fell "
        f"from {train[0]:.3g} to {train[1]:.3g}",
        BATCH_SIZE,
        curves.again(*_regularised(curves)),
    )


def _regularised(curves: Curves) -> list[str]:
    if curves.config["model"].get("dropout") == 0:
        return ["--dropout", "0.3"]
    return ["-s", "data.augment=[crop]"] if not curves.config["data"]["augment"] else ["--weight-decay", "0.001"]


def not_finished(curves: Curves) -> Finding | None:
    val = curves.val
    quarter = len(val) // 4
    if not quarter:
        return None
    before, end = min(val[:-quarter]), min(val[-quarter:])
    if end > STILL_FALLING * before or before - end < MATTERS * curves.guessing:
        return None
    epochs = "epoch" if quarter == 1 else f"{quarter} epochs"
    return Finding(
        "not_finished",
        f"not finished after {len(val)} epochs",
        f"in the last {epochs} the best validation loss still fell from {before:.3g} to {end:.3g}",
        CURVES,
        curves.again("--epochs", str(2 * len(val))),
    )


def too_long(curves: Curves) -> Finding | None:
    scores, val = curves.scores, curves.val
    fifth = len(val) // 5
    if not fifth:
        return None
    metric = curves.started.score
    early, best = metric.best(scores[:fifth]), metric.best(scores)
    assert early is not None
    assert best is not None
    gained = metric.gain(best, early) > curves.error_of(best)
    if gained or min(val[:fifth]) - min(val) > MATTERS * curves.guessing:
        return None
    return Finding(
        "too_long",
        f"nothing gained after epoch {fifth}",
        f"after {fifth} of {len(val)} epochs the validation {metric.words} was {metric.show(early)}; "
        f"the best of all is {metric.show(best)}",
        CURVES,
        curves.again("--epochs", str(max(fifth, 5))),
    )


def diverged(curves: Curves) -> Finding | None:
    if curves.ended and curves.ended.diverged:
        title, _, what = curves.ended.reason.partition(";")[0].partition(": ")  # the journal ends a few steps later
    elif high := [n for n, loss in enumerate(curves.smooth, start=SMOOTH) if loss > EXPLOSION * curves.losses[0]]:
        title = f"diverged at step {high[0]}"
        what = f"the training loss was over {EXPLOSION:g} times the first step's {curves.losses[0]:.3g}"
        if curves.smooth[-1] < curves.losses[0]:  # it recovered
            return None
    else:
        return None
    return Finding("diverged", title, what, FAILURES, curves.with_rate(0.1))


def learning_rate_too_high(curves: Curves) -> Finding | None:
    if not curves.smooth:
        return None
    highest, train = max(curves.smooth), curves.train
    bounce, epoch = max(((b - a, n) for n, (a, b) in enumerate(pairwise(train), start=2)), default=(0.0, 0))
    if highest >= RISE * max(curves.losses[0], curves.guessing):
        step = curves.smooth.index(highest) + SMOOTH
        text = f"(mean of {SMOOTH} steps) rose from {curves.losses[0]:.3g} to {highest:.3g} at step {step}"
    elif bounce >= BOUNCE * curves.guessing:
        text = f"rose from {train[epoch - 2]:.3g} to {train[epoch - 1]:.3g} in epoch {epoch}"
    else:
        return None
    return Finding(
        "learning_rate_too_high",
        "learning rate too high",
        f"the training loss {text}",
        LEARNING_RATE,
        curves.with_rate(0.1),
    )


def learning_rate_too_low(curves: Curves) -> Finding | None:
    train = curves.train
    rises = sum(after > before for before, after in pairwise(train))
    if len(train) < 3 or rises > len(train) / 10 or train[-1] < 0.5 * curves.losses[0]:
        return None
    slopes = [(a.train["loss"] - b.train["loss"]) / b.lr for a, b in pairwise(curves.epochs) if b.lr > 0.1 * a.lr]
    half = len(slopes) // 2
    if not half or fmean(slopes[half:]) < 0.5 * fmean(slopes[:half]):
        return None
    return Finding(
        "learning_rate_too_low",
        "learning rate too low",
        f"the training loss fell steadily, but in {len(train)} epochs only from {curves.losses[0]:.4g} to "
        f"{train[-1]:.4g}",
        LEARNING_RATE,
        curves.with_rate(10),
    )


def batch_too_small(curves: Curves) -> Finding | None:
    losses, batch = curves.losses, curves.started.train_size / curves.started.steps_per_epoch
    if batch >= SMALL_BATCH or len(losses) < 50:
        return None
    noise = stdev(after - before for before, after in pairwise(losses)) / math.sqrt(2)  # a trend adds next to nothing
    fall = max(curves.smooth[0] - min(curves.smooth), 1e-9)
    if noise < NOISE * fall:
        return None
    size = round(batch)
    return Finding(
        "batch_too_small",
        f"batches of {size} are too small",
        f"from step to step the loss varies by {noise:.3g}, and in all steps it fell by {fall:.3g}",
        BATCH_SIZE,
        curves.again("--batch-size", str(2 * SMALL_BATCH)),
    )


def stuck(curves: Curves) -> Finding | None:
    counts = curves.started.counts.get("train")
    if not counts or not curves.epochs or not curves.started.score.counts_samples:
        return None
    loss, score = curves.train[-1], curves.scores[-1]
    share = max(counts) / sum(counts)
    at_guessing = abs(loss - curves.guessing) < MATTERS * curves.guessing
    still = max(curves.scores) - min(curves.scores) < STILL
    luck = 3 * curves.error_of(share)  # any class may be the one that has more images in validation
    if score > share + luck or not (at_guessing or still):
        return None
    guess = f"that of guessing is {curves.guessing:.4g}, as ln({len(counts)}) = {math.log(len(counts)):.4g}"
    started = curves.started
    return Finding(
        "stuck",
        "stuck at the loss of guessing" if at_guessing else "stuck at the share of a class",
        f"the training loss of the last epoch is {loss:.4g}; {guess}. The largest class has {share:.3g} of the "
        f"{started.samples}, and the validation {started.score.words} is {score:.3g}",
        FAILURES,
        curves.again("-s", "model.init=he_normal", "-s", "training.record_norms=true"),
    )


def dead_units(curves: Curves) -> Finding | None:
    if not curves.norms:
        return None
    dead = {layer: share for layer, share in curves.norms[-1].dead.items() if share >= DEAD}
    if not dead:
        return None
    worst = max(dead, key=dead.__getitem__)
    first, end = curves.norms[0], curves.norms[-1]
    return Finding(
        "dead_units",
        f"{dead[worst]:.0%} of the units of {worst} are dead",
        f"after step {end.step} {listed([f'{share:.0%} of {layer}' for layer, share in dead.items()])} "
        f"gave one output for all {curves.started.samples}; at step {first.step} it was {first.dead[worst]:.0%} of "
        f"{worst}",
        COURSE + '"Activation Functions"',
        curves.with_rate(0.1),
    )


def vanishing_gradients(curves: Curves) -> Finding | None:
    for norms in curves.norms[:1]:
        layers = list(norms.gradients)
        first, end = norms.gradients[layers[0]], norms.gradients[layers[-1]]
        if first < VANISHING * end:
            return Finding(
                "vanishing_gradients",
                f"the gradient vanishes before {layers[0]}",
                f"at step {norms.step} the gradient of {layers[0]} has the norm {first:.2g}, that of {layers[-1]} "
                f"{end:.2g}",
                COURSE + '"Activation Functions"',
                curves.again("-s", "model.activation=relu", "-s", "model.init=he_normal"),
            )
    return None


def exploding_gradients(curves: Curves) -> Finding | None:
    for norms in curves.norms:
        ratios = {layer: g / w for layer, g in norms.gradients.items() if (w := norms.weights[layer])}
        worst = max(ratios, key=ratios.__getitem__, default="")
        if worst and ratios[worst] > EXPLODING:
            return Finding(
                "exploding_gradients",
                f"the gradient of {worst} explodes",
                f"at step {norms.step} the gradient of {worst} has the norm {norms.gradients[worst]:.2g}, its weights "
                f"{norms.weights[worst]:.2g}",
                FAILURES,
                curves.again("-s", "training.clip_norm=1", "-s", "model.init=xavier_normal"),
            )
    return None


def train_below_val(curves: Curves) -> Finding | None:
    """A training metric is a mean over its epoch, so it is compared with validation at the beginning of that epoch."""
    if len(curves.epochs) < 2:
        return None
    name, loss = curves.started.score.name, (curves.train[-1], curves.val[-2])
    score = curves.epochs[-1].train.get(name), curves.scores[-2]
    if loss[0] - loss[1] < MATTERS * curves.guessing or score[0] is None:
        return None
    if curves.started.score.gain(score[1], score[0]) <= 0 or loss[1] > (1 - MATTERS) * curves.guessing:
        return None
    causes = {"dropout": curves.config["model"].get("dropout"), "augmentation": curves.config["data"]["augment"]}
    if causes["dropout"]:
        remedy = ["--dropout", short(causes["dropout"] / 2)]
    else:
        remedy = ["-s", "data.augment=[]" if causes["augmentation"] else "data.val_fraction=0.2"]
    cause = listed([word for word, used in causes.items() if used] or ["the split"])
    return Finding(
        "train_below_val",
        f"worse in training than in validation: {cause}",
        f"in the last epoch the training {curves.started.score.words} is {score[0]:.4f} and its loss {loss[0]:.3g}; in "
        f"validation they were {score[1]:.4f} and {loss[1]:.3g} before it",
        COURSE + '"Regularization Methods"',
        curves.again(*remedy),
    )


def never_predicted(curves: Curves) -> Finding | None:
    if not curves.ended or not curves.ended.confusion:
        return None
    rows = curves.ended.confusion
    columns = [sum(column) for column in zip(*rows, strict=True)]
    classes = curves.started.classes
    never = [n for n, row in enumerate(rows) if not columns[n] and sum(row) >= FEW_IMAGES]
    if not never:
        return None
    counts = curves.started.counts.get("train")
    in_training = f", {counts[never[0]]} in training" if counts else ""
    unit = curves.started.samples if counts else "pixels"
    names = listed([classes[n] for n in never[:5]]) + (f" and {len(never) - 5} more" if len(never) > 5 else "")
    return Finding(
        "never_predicted",
        f"never predicted: {names}",
        f"{classes[never[0]]} has {sum(rows[never[0]]):,} test {unit}{in_training}, and is predicted for none",
        INSIGHT,
        shlex.join(["cnnlab", "show", curves.run, "--plot", "figures"]),
    )


RULES: tuple[Callable[[Curves], Finding | None], ...] = (
    diverged,
    learning_rate_too_high,
    stuck,
    learning_rate_too_low,
    exploding_gradients,
    vanishing_gradients,
    dead_units,
    overfitting,
    not_finished,
    too_long,
    batch_too_small,
    train_below_val,
    never_predicted,
)
"""The rules over a journal, those with the largest effect first."""


OF_GRADIENTS = (learning_rate_too_high, learning_rate_too_low, batch_too_small)
"""Those that do not hold for Rosenblatt's rule, whose loss is a number of mistakes and falls in leaps."""


def findings_of(run: RunDir) -> list[Finding]:
    """From the journal alone."""
    return found(curves_of(run))


def curves_of(run: RunDir) -> Curves:
    return Curves(read(run.journal_file)[0], from_here(str(run.config_file)), from_here(run.word))


def found(curves: Curves) -> list[Finding]:
    """Empty if no step was taken."""
    if not any(isinstance(record, RunStarted) for record in curves.records):
        return []
    if not curves.losses and not (curves.ended and curves.ended.diverged):
        return []
    left_out = OF_GRADIENTS if curves.started.optimizer == "perceptron" else ()
    return [finding for rule in RULES if rule not in left_out and (finding := rule(curves))]


def finding_tags(run_dir: Path) -> dict[str, str]:
    """MLflow's tags of a run: `cnnlab.finding.overfitting` -> its sentence."""
    return {f"cnnlab.finding.{finding.name}": finding.text for finding in findings_of(RunDir(run_dir))}


def image_findings_of(run: RunDir) -> list[Finding]:
    """From the images and the trained network, which are loaded; empty if the run has no network or no classes.

    Raises:
        BadInput: the data is not there, or is not that of the run.
    """
    from cnnlab.data import load
    from cnnlab.reading.trained import load_trained

    curves = curves_of(run)
    if curves.ended is None or curves.ended.weights_file is None:
        return []
    trained = load_trained(run.path)
    dataset = load(trained.config.data, trained.config.training.seed)
    if dataset.digest != trained.started.dataset_digest:
        raise BadInput(f"data.root: these images are not those of {run.run_id}; put them back, or train again")
    splits = {name: getattr(dataset, name) for name in ("train", "val", "test")}
    given = [duplicates(curves, splits["train"].inputs, splits["test"].inputs)]
    if splits["train"].targets.ndim == 1:
        labels = {name: split.targets for name, split in splits.items()}
        shares = {name: _probabilities(trained.model, split.inputs) for name, split in splits.items()}
        given.append(confident_errors(curves, labels, shares))
    return [finding for finding in given if finding]


def _probabilities(model: "nn.Module", images: "Tensor") -> "Tensor":
    """(N, C, H, W) uint8 -> (N, classes)"""
    import torch

    with torch.inference_mode():
        return torch.cat([model(chunk).softmax(1) for chunk in torch.split(images, 256)])


def duplicates(curves: Curves, train: "Tensor", test: "Tensor") -> Finding | None:
    """train, test: (N, C, H, W) uint8."""
    known = {image.numpy().tobytes() for image in train}
    same = [number for number, image in enumerate(test) if image.numpy().tobytes() in known]
    if len(same) < max(DUPLICATES * len(test), 1):
        return None
    samples = curves.started.samples
    return Finding(
        "duplicates",
        f"{len(same)} test {samples} are training {samples}",
        f"{len(same)} of {len(test)} test {samples} ({len(same) / len(test):.1%}) are equal to training {samples}, so "
        f"the test score is too high; the first are numbers {listed([str(number) for number in same[:5]])} of the test "
        "split, counted from 0",
        INSIGHT,
        "remove them from one of the two splits, then " + curves.again(),
    )


def confident_errors(
    curves: Curves, labels: Mapping[str, "Tensor"], probabilities: Mapping[str, "Tensor"]
) -> Finding | None:
    """The labels that the network contradicts most. The network may err too, so this is no finding.

    Args:
        labels: split -> (N,) int64
        probabilities: split -> (N, classes)
    """
    doubted = []
    for split, targets in labels.items():
        sure, predicted = probabilities[split].max(1)
        wrong = ((predicted != targets) & (sure >= CONFIDENT)).nonzero().flatten().tolist()
        doubted += [(float(sure[n]), split, n, int(targets[n]), int(predicted[n])) for n in wrong]
    if not doubted:
        return None
    classes = curves.started.classes
    first = [
        f"{split} {n} ({classes[given]}, not {classes[other]}?)"
        for _, split, n, given, other in sorted(doubted, reverse=True)[:5]
    ]
    return Finding(
        "confident_errors",
        "labels to look at: the most confident errors",
        f"for {len(doubted)} of {sum(map(len, labels.values()))} {curves.started.samples} the network gives another "
        f"class than their label a probability of {CONFIDENT:g} or more; the first: {listed(first)}",
        INSIGHT,
        "if labels are wrong, correct them, then " + curves.again(),
        is_fault=False,
    )
