"""`cnnlab sweep`"""

import sys
from pathlib import Path
from typing import Any

import click

from cnnlab.cli.options import (
    Command,
    command_options,
    experiment_argument,
    options_of,
    output_options,
    read_experiment,
    setting_options,
    settings_of,
)
from cnnlab.cli.streams import complain
from cnnlab.config.commands import SweepOptions
from cnnlab.interrupts import catch_interrupts, end_when_interrupted
from cnnlab.search import Sweep


@click.command("sweep", cls=Command)
@experiment_argument
@click.option(
    "--search",
    multiple=True,
    metavar="RANGE",
    help="A range beside the default ones, or beside `search:` of the experiment: lr=1e-4:1:log, "
    "dropout=0:0.6, batch_size=16,32,64, optimizer=sgd,adam.",
)
@command_options(SweepOptions)
@setting_options
@click.option("--dry-run", is_flag=True, help="Print the space, the first trials and the time it may take, and stop.")
@output_options
def command(
    experiment: Path | None,
    assignments: tuple[str, ...],
    search: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> int:
    """EXPERIMENT is a YAML file, or a folder of images. Without `search:` in it, learning rate, momentum, weight decay,
    batch size and dropout are searched. --search adds to that. Trial 0 is the experiment as written. The same command
    again goes on where it stopped.

    \b
    Example: cnnlab sweep --search lr=1e-4:1:log --search batch_size=16,32,64 --trials 30
    """
    config = read_experiment(experiment, settings_of(given, assignments))
    sweep = Sweep(config, search, **options_of(SweepOptions, given))
    if dry_run:
        from cnnlab.cli.display.sweep_display import print_preview

        print_preview(sweep.preview(), sweep.plan, sweep.workers)
        return 0
    return _sweep(sweep, as_json=as_json, quiet=quiet)


def _sweep(sweep: Sweep, *, as_json: bool, quiet: bool) -> int:
    """Sweep, print the result, return the exit code."""
    with sweep, end_when_interrupted("interrupted; the same command goes on"):
        sweep.begin()
        from cnnlab.cli.display.sweep_display import open_sweep_view, print_findings
        from cnnlab.cli.display.terminal import deliver, open_status

        with open_sweep_view(quiet, sweep.plan, sweep.workers) as show, catch_interrupts(sweep.stop) as interrupt:
            for state in sweep:
                show(state)
        with open_status(quiet, "drawing the plots"):
            findings = sweep.conclude()
        print_findings(findings, sweep.seconds, sys.argv[1:], as_json=as_json)
        deliver(sweep, "cnnlab sync", quiet=quiet)
    if interrupt.number:
        complain(f"interrupted; the same command goes on with {sweep.plan.study}")
        return 128 + interrupt.number
    if findings.best is None:
        complain(f"no trial was trained to its end; cnnlab show {sweep.plan.study} gives the reasons")
        return 1
    return 0
