"""A range test of the learning rate (Smith 2017, section 3.3): the loss while the rate rises step by step.

It finds the order of magnitude. Rates around it are then tried, each in a short training whose rate falls to 0: a
network may survive a rate for a step and not for fifty, and a loss that hardly moves in the test has no shape.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, median

import numpy as np

from cnnlab.config import RunConfig
from cnnlab.config.optimizers import OPTIMIZERS
from cnnlab.config.section import tag_of
from cnnlab.look import new_figure, save
from cnnlab.run import prepare
from cnnlab.training import Learner, set_for_training

SMOOTHING = 0.8
"""Weight of the past in the running mean of the losses."""
BEYOND = 4.0
"""A test ends if the smoothed loss is this many times the lowest."""
TRIALS = 5
"""The number of rates tried first, from a WIDTH-th of the lower suggestion of the test to WIDTH times the higher."""
WIDTH = 4
ROUNDS = 2
"""How often the rates halfway from the best to its neighbours are tried; neighbours are then 1.2 to 1.5 times apart."""


@dataclass(frozen=True)
class Suggestion:
    """A learning rate and why it is suggested."""

    lr: float
    reason: str
    alone: tuple[float, float] = (0.0, 0.0)
    """The lowest and the highest of what each seed alone suggests."""


@dataclass(frozen=True)
class RangeTest:
    """Learning rates and the losses of each seed, smoothed; a seed's losses end where its test ended."""

    rates: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]
    trials: Mapping[float, tuple[float, ...]] = field(default_factory=dict)
    """Rate -> the smoothed loss of each seed at the end of its short training; infinite if that ended early."""

    @property
    def middle(self) -> list[float]:
        """The median of the seeds at each rate that all of them reached."""
        return [median(at) for at in zip(*self.losses, strict=False)]

    @property
    def spread(self) -> tuple[list[float], list[float]]:
        """The lowest and the highest of the seeds."""
        columns = list(zip(*self.losses, strict=False))
        return [min(at) for at in columns], [max(at) for at in columns]

    def suggestions(self) -> list[Suggestion]:
        """The best rate that was tried, by the mean of the seeds, then the two of the test, by their median.

        These are a tenth of the rate at which the loss diverges, and the rate at which it falls fastest over a tenth
        of the test's steps; a step alone is noise.
        The loss diverges at the first rate, after its lowest value, at which it is above its first value, or at which
        a seed's test ended.
        """
        alone = zip(*(RangeTest(self.rates, (losses,))._by_the_median() for losses in self.losses), strict=True)
        rates = [[suggestion.lr for suggestion in each] for each in alone]
        both = zip(self._by_the_median(), rates, strict=True)
        of_test = [replace(suggestion, alone=(min(each), max(each))) for suggestion, each in both]
        return [self._best_tried(), *of_test] if self.trials else of_test

    def _best_tried(self) -> Suggestion:
        alone = [min(self.trials, key=lambda rate: self.trials[rate][seed]) for seed in range(len(self.losses))]
        reason = f"the lowest loss of {len(self.trials)} rates that were tried for {len(self.rates)} steps"
        return Suggestion(_best(self.trials), reason, (min(alone), max(alone)))

    def _by_the_median(self) -> list[Suggestion]:
        losses = self.middle
        lowest = losses.index(min(losses))
        steps, reach = np.arange(lowest + 1), len(self.rates) // 20
        falling = np.array(losses)
        slopes = falling[(steps + reach).clip(max=lowest)] - falling[(steps - reach).clip(min=0)]
        steepest = self.rates[int(slopes.argmin())]
        risen = [index for index in range(lowest, len(losses)) if losses[index] > losses[0]]
        if risen or len(losses) < len(self.rates):
            diverged = self.rates[risen[0] if risen else len(losses)]
            reason = f"a tenth of {diverged:.2g}, where the loss diverges"
        else:
            diverged = self.rates[-1]
            reason = f"a tenth of {diverged:.2g}, the end of the test; the loss did not diverge"
        return [
            Suggestion(_short(diverged / 10), reason),
            Suggestion(_short(steepest), "the loss falls fastest here"),
        ]

    def search(self) -> str:
        """The words of `--search` for a range around the first suggestion."""
        best = self.suggestions()[0].lr
        return f"lr={_short(best / 3):g}:{_short(best * 3):g}:log"


def _best(trials: Mapping[float, Sequence[float]]) -> float:
    """The rate with the lowest mean of the seeds."""
    return min(trials, key=lambda rate: fmean(trials[rate]))


def range_test(config: RunConfig, seeds: int = 3, steps: int = 100) -> RangeTest:
    """Train for `steps` steps per seed, all from the same weights, with a rate that rises on a log scale; then train as
    many steps at each of TRIALS rates around what that suggests, falling linearly to 0, and then at rates closer to the
    best of them.

    The rates are from a tenth of the optimizer's default range to ten times its end. A seed determines the order of the
    images. Nothing is written but the data cache.

    Raises:
        BadInput: the config is invalid on this machine or with this data.
    """
    ends = OPTIMIZERS[tag_of(OPTIMIZERS, config.optimizer.name)].lr
    first = prepare(config)
    start = {name: tensor.clone() for name, tensor in first.model.state_dict().items()}

    def losses(rates: Sequence[float], beyond: float = math.inf) -> tuple[tuple[float, ...], ...]:
        of_seeds = []
        for seed in range(config.training.seed, config.training.seed + seeds):
            training = config.training.model_copy(update={"seed": seed})
            learner = prepare(config.model_copy(update={"training": training}), first.dataset)
            learner.load_weights(start)
            of_seeds.append(_smoothed_losses(learner, rates, beyond))
        return tuple(of_seeds)

    def tried(peak: float) -> tuple[float, ...]:
        falling = np.linspace(peak, 0, steps, endpoint=False).tolist()
        return tuple(each[-1] if len(each) == steps else math.inf for each in losses(falling))

    rates = tuple(np.geomspace(ends["low"] / 10, ends["high"] * 10, steps).tolist())
    test = RangeTest(rates, losses(rates, BEYOND))
    suggested = [suggestion.lr for suggestion in test.suggestions()]
    around = np.geomspace(min(suggested) / WIDTH, max(suggested) * WIDTH, TRIALS).tolist()
    trials = {peak: tried(peak) for peak in map(_short, around)}
    for _ in range(ROUNDS):
        ordered, best = sorted(trials), _best(trials)
        at = ordered.index(best)
        halfway = [_short(math.sqrt(best * other)) for other in ordered[max(at - 1, 0) : at + 2] if other != best]
        trials |= {peak: tried(peak) for peak in halfway}
    return replace(test, trials=trials)


def _smoothed_losses(learner: Learner, rates: Sequence[float], beyond: float) -> tuple[float, ...]:
    """The running mean of the losses at these rates, until it is `beyond` times the lowest or not finite."""
    smoothed: list[float] = []
    mean = 0.0
    with set_for_training(learner.operator_threads, learner.generator), learner.at_work():
        for step, rate in enumerate(rates):
            epoch, batch = divmod(step, len(learner.batches))
            if batch == 0:
                learner.begin_epoch(epoch)
            learner.step(rate, noise=step)
            taken = learner.collect()
            mean = SMOOTHING * mean + (1 - SMOOTHING) * taken.losses[0]
            loss = mean / (1 - SMOOTHING ** (step + 1))  # as in Adam: without the bias to the first 0
            if taken.bad[0] or not math.isfinite(loss) or (smoothed and loss > beyond * min(smoothed)):
                break
            smoothed.append(loss)
    return tuple(smoothed)


def draw_range_test(test: RangeTest, folder: Path) -> Path:
    """Write lr_find.png into the folder, which is there: the median of the seeds, their range, the suggestions."""
    figure = new_figure(7, 4)
    axes = figure.subplots()
    rates = test.rates[: len(test.middle)]
    axes.fill_between(rates, *test.spread, alpha=0.25, linewidth=0, label="lowest to highest of the seeds")
    axes.plot(rates, test.middle, label="median of the seeds")
    for suggestion, style in zip(test.suggestions(), ("-", "--", ":"), strict=True):
        axes.axvline(suggestion.lr, linestyle=style, color="tab:red", label=f"{suggestion.lr:g}: {suggestion.reason}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss, smoothed")
    axes.legend(fontsize="small")
    return save(figure, folder / "lr_find.png")


def _short(rate: float) -> float:
    """With two significant digits."""
    return float(f"{rate:.2g}")
