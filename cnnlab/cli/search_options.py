"""Options that `cnnlab sweep` and `cnnlab compare` share."""

from collections.abc import Callable
from typing import Any, TypeVar, get_args

import click

from cnnlab.config.messages import check_name
from cnnlab.search.plan import Sampler

F = TypeVar("F", bound=Callable[..., Any])

SAMPLERS: tuple[str, ...] = get_args(Sampler)


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


def _study(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """The name of a study, which is the name of a folder too."""
    if value is not None:
        check_name(value, f"--study {value!r}")
    return value


def sampler_option(default: Sampler) -> Callable[[F], F]:
    """--sampler."""
    return click.option(
        "--sampler", type=click.Choice(SAMPLERS), default=default, show_default=True, help="Draws the trials."
    )


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
