"""`cnnlab lr-find`"""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnnlab.cli.options import Command, experiment_argument, folder, read_experiment, setting_options, settings_of
from cnnlab.errors import BadInput
from cnnlab.interrupts import at_once_when_interrupted
from cnnlab.result import strict_json

if TYPE_CHECKING:
    from cnnlab.reading.range_test import RangeTest


@click.command("lr-find", cls=Command)
@experiment_argument
@setting_options
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1, 100), help="Orders of the images.")
@click.option(
    "--steps",
    default=100,
    show_default=True,
    type=click.IntRange(20, 10_000),
    help="Steps per seed and rate tried.",
)
@click.option("--plot", type=click.Path(), callback=folder, help="Write lr_find.png into this folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, and nothing else.")
def command(
    experiment: Path | None,
    assignments: tuple[str, ...],
    seeds: int,
    steps: int,
    plot: Path | None,
    as_json: bool,
    **flags: str | None,
) -> None:
    """The learning rate rises step by step, on a log scale, from the same weights for each seed (Smith 2017).
    Then rates around what that suggests are tried, for as many steps each. EXPERIMENT is as of `cnnlab train`. No run
    is made.

    \b
    Example: cnnlab lr-find --model lenet5 -s data.resize=28 --plot figures
    """
    settings = settings_of(flags, assignments)
    config = read_experiment(experiment, settings)
    if plot:
        try:
            plot.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"--plot {plot}: the folder cannot be made ({error.strerror}); name another") from None
    with at_once_when_interrupted("interrupted; nothing was written"):
        from cnnlab.reading.range_test import draw_range_test, range_test

        test = range_test(config, seeds, steps)
        if plot:
            click.echo(draw_range_test(test, plot), err=True)
    found = [
        {"lr": suggestion.lr, "reason": suggestion.reason, "seeds": suggestion.alone}
        for suggestion in test.suggestions()
    ]
    if as_json:
        tried = [{"lr": rate, "losses": losses} for rate, losses in sorted(test.trials.items())]
        shown = {"rates": test.rates, "losses": test.losses, "trials": tried, "suggestions": found}
        click.echo(strict_json({**shown, "search": test.search()}))
        return
    given = [] if experiment is None else [str(experiment)]
    changed = [word for path, value in settings.items() if path != "optimizer.lr" for word in ("-s", f"{path}={value}")]
    _print(test, shlex.join(["cnnlab", "sweep", *given, *changed, "--search", test.search()]))


def _print(test: "RangeTest", sweep: str) -> None:
    """The curve, a line per suggestion, and the sweep to go on with."""
    from cnnlab.cli.display.run_display import range_curve
    from cnnlab.cli.display.terminal import result_console

    console = result_console()
    console.print(range_curve(test.rates, test.middle, *test.spread, width=min(console.width, 100)))
    click.echo(f"line: median of {len(test.losses)} seeds; points: lowest and highest")
    for suggestion in test.suggestions():
        low, high = suggestion.alone
        click.echo(f"lr {suggestion.lr:g} (each seed alone: {low:g} to {high:g}): {suggestion.reason}")
    click.echo(f"next: {sweep}")
