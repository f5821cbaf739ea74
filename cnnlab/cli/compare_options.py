"""The options of `cnnlab compare` beside the settings."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import click

from cnnlab.cli.sweep_options import SAMPLERS, storage_option, study_option, workers_option
from cnnlab.config.arms import DEFAULT, SHIPPED
from cnnlab.errors import BadInput

F = TypeVar("F", bound=Callable[..., Any])

FEWEST_SEEDS = 2


@dataclass(frozen=True)
class CompareOptions:
    """As they were typed."""

    optimizers: str | None
    over: str | None
    workload: tuple[Path, ...]
    trials: int
    seeds: int | None
    margin: float
    """In points of accuracy."""
    target: float | None
    sampler: str
    workers: int | None
    study: str | None
    storage: str | None

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> "CompareOptions":
        """Take ours out of all that Click has read."""
        return cls(**{field.name: options.pop(field.name) for field in fields(cls)})


class OfEach(click.ParamType[int]):
    """A number that is the same for all arms."""

    name = "N"

    def __init__(self, least: int) -> None:
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        option = param.opts[0] if param else "it"
        text = str(value)
        if "=" in text or "," in text:
            raise BadInput(f"{option} {text}: unequal budgets cannot be compared; give one number for all")
        if not text.isdigit() or not self.least <= int(text) <= 1_000_000:
            raise BadInput(f"{option} {text}: it must be a whole number from {self.least} on")
        return int(text)


def _target(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    if value is not None and not 0 < value < 1:
        raise BadInput(f"--target {value:g}: out of reach; an accuracy is a fraction between 0 and 1, as 0.9")
    return value


def compare_options(command: F) -> F:
    """All of them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS: list[Callable[[Any], Any]] = [
    click.option(
        "--optimizers",
        metavar="A,B,...",
        help=f"Which: {', '.join(SHIPPED)} or a class of torch.optim. "
        f"[default: `compare:` of the experiment, or {','.join(DEFAULT)}]",
    ),
    click.option(
        "--over",
        metavar="NAME=A,B,...",
        help="Compare the values of this setting instead, the learning rate tuned for each: model.activation=relu,tanh",
    ),
    click.option(
        "--workload",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="An experiment; several times for a score over all of them.",
    ),
    click.option(
        "--trials", type=OfEach(1), default="8", show_default=True, help="Of each arm; the first is its defaults."
    ),
    click.option(
        "--seeds",
        type=OfEach(FEWEST_SEEDS),
        help="Fresh ones, on which the best of each is trained again. [default: 10; 5 without an experiment]",
    ),
    click.option(
        "--margin",
        type=click.FloatRange(min=0),
        default=0.2,
        show_default=True,
        help="Points of accuracy too few to matter.",
    ),
    click.option(
        "--target",
        type=float,
        callback=_target,
        help="Validation accuracy to be reached, as 0.9. [default: the median of the untuned defaults]",
    ),
    click.option("--sampler", type=click.Choice(SAMPLERS), default="qmc", show_default=True, help="Draws the trials."),
    workers_option,
    study_option,
    storage_option,
]
