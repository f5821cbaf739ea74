"""The options of `cnnlab sweep` beside the settings."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import click

from cnnlab.config.messages import check_name

F = TypeVar("F", bound=Callable[..., Any])

SAMPLERS = ("tpe", "random", "qmc", "gp", "cmaes", "grid")
PRUNERS = ("none", "median", "asha", "hyperband", "patient")


@dataclass(frozen=True)
class SweepOptions:
    """As they were typed."""

    search: tuple[str, ...]
    trials: int
    sampler: str
    pruner: str
    seeds: int
    confirm: int
    confirm_seeds: int
    retries: int
    workers: int | None
    """None for auto."""
    study: str | None
    storage: str | None
    extend: str | None
    timeout: float | None

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> "SweepOptions":
        """Take ours out of all that Click has read."""
        return cls(**{field.name: options.pop(field.name) for field in fields(cls)})


def _study(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """The name of a study, which is that of a folder too."""
    if value is not None:
        check_name(value, f"--study {value!r}")
    return value


class Workers(click.ParamType[int | None]):
    """A number, or auto."""

    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value is None or value == "auto":
            return None
        try:
            number = int(value)
        except ValueError:
            number = 0
        if not 1 <= number <= 1024:
            self.fail(f"{value!r} is neither a number from 1 to 1024 nor auto", param, ctx)
        return number


def sweep_options(command: F) -> F:
    """All of them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


workers_option = click.option(
    "--workers", type=Workers(), default="auto", show_default=True, help="Processes that train."
)
study_option = click.option(
    "--study",
    metavar="NAME",
    callback=_study,
    help="Join or go on with this study. [default: made from the experiment]",
)
storage_option = click.option(
    "--storage", metavar="URL", help="A database that machines share, or a file. [default: mlruns/studies/STUDY]"
)

_OPTIONS: list[Callable[[Any], Any]] = [
    click.option(
        "--search",
        multiple=True,
        metavar="RANGE",
        help="What may be tried: lr=1e-4:1:log, dropout=0:0.6, batch_size=16,32,64, optimizer=sgd,adam.",
    ),
    click.option("--trials", type=click.IntRange(1, 1_000_000), default=20, show_default=True, help="In all."),
    click.option("--sampler", type=click.Choice(SAMPLERS), default="tpe", show_default=True, help="Draws the trials."),
    click.option(
        "--pruner", type=click.Choice(PRUNERS), default="asha", show_default=True, help="Ends bad trials early."
    ),
    click.option(
        "--seeds", type=click.IntRange(1, 1000), default=1, show_default=True, help="A trial is the mean over so many."
    ),
    click.option(
        "--confirm",
        type=click.IntRange(0, 1000),
        default=1,
        show_default=True,
        metavar="TOP",
        help="Train so many of the best again on fresh seeds, and the experiment as written with them.",
    ),
    click.option(
        "--confirm-seeds", type=click.IntRange(1, 1000), default=3, show_default=True, help="So many fresh seeds."
    ),
    click.option(
        "--retries", type=click.IntRange(0, 100), default=2, show_default=True, help="Of a trial that crashed."
    ),
    workers_option,
    study_option,
    storage_option,
    click.option(
        "--extend", metavar="OLD", help="Take over the trials of this study that lie inside the space given now."
    ),
    click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Stop after so many seconds."),
]
