"""`cnnlab sweep`"""

import sys
from pathlib import Path
from typing import Any, get_args

import click

from cnnlab.cli.messages import complain
from cnnlab.cli.options import (
    Command,
    experiment_name_option,
    output_options,
    read_experiment,
    sampler_option,
    setting_options,
    settings_of,
    storage_option,
    study_option,
    taken_flags,
    tracking_uri_option,
    workers_option,
)
from cnnlab.cli.printing.sweep import print_findings, print_preview
from cnnlab.cli.views.delivery import deliver
from cnnlab.cli.views.run import open_status
from cnnlab.cli.views.sweep import open_sweep_view
from cnnlab.interrupts import catch_interrupts, end_when_interrupted
from cnnlab.search import Plan, Sweep
from cnnlab.search.plan import Pruner


@click.command("sweep", cls=Command)
@click.argument("experiment", required=False, type=click.Path(path_type=Path))
@click.option(
    "--search",
    multiple=True,
    metavar="RANGE",
    help="What may be tried beside the default ranges, or beside `search:` of the experiment: lr=1e-4:1:log, "
    "dropout=0:0.6, batch_size=16,32,64, optimizer=sgd,adam.",
)
@click.option("--only", is_flag=True, help="Search nothing but what --search names.")
@click.option(
    "--trials",
    type=click.IntRange(1, 1_000_000),
    help=f"The number in all. [default: {Plan.trials}; of a grid all points]",
)
@sampler_option(None, f"{Plan.sampler}; grid if the space has no more points than there are trials")
@click.option(
    "--pruner",
    type=click.Choice(get_args(Pruner), case_sensitive=False),
    default=Plan.pruner,
    show_default=True,
    help="Ends bad trials early.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1, 1000),
    default=Plan.seeds,
    show_default=True,
    help="Each trial is the mean over this number of seeds.",
)
@click.option(
    "--confirm",
    type=click.IntRange(0, 1000),
    default=Plan.confirm,
    show_default=True,
    metavar="TOP",
    help="Train this number of the best again on fresh seeds, and the experiment as written with them.",
)
@click.option(
    "--confirm-seeds",
    type=click.IntRange(1, 1000),
    default=Plan.confirm_seeds,
    show_default=True,
    help="The number of fresh seeds.",
)
@click.option(
    "--retries",
    type=click.IntRange(0, 100),
    default=Plan.retries,
    show_default=True,
    help="How often a trial that crashed is tried again.",
)
@workers_option
@study_option
@storage_option
@click.option("--extend", metavar="OLD", help="Take over the trials of this study that lie inside the space given now.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Stop after this number of seconds.")
@setting_options
@experiment_name_option
@tracking_uri_option
@click.option("--dry-run", is_flag=True, help="Print the space, the first trials and the time it may take, and stop.")
@output_options
def command(
    experiment: Path | None,
    assignments: tuple[str, ...],
    search: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **asked: Any,
) -> int:
    """Search hyperparameters.

    EXPERIMENT is a YAML file, or a folder of images. If its `search:` says nothing, learning rate, momentum, weight
    decay, batch size and dropout are searched. --search adds to that. Trial 0 is the experiment as written. The same
    command again goes on where it stopped.

    \b
    Example: cnnlab sweep --search lr=1e-4:1:log --search batch_size=16,32,64 --trials 30
    """
    config = read_experiment(experiment, settings_of(taken_flags(asked), assignments))
    sweep = Sweep(config, search, **asked)
    if dry_run:
        print_preview(sweep.preview(), sweep.plan, sweep.layout)
        return 0
    return _sweep(sweep, as_json=as_json, quiet=quiet)


def _sweep(sweep: Sweep, *, as_json: bool, quiet: bool) -> int:
    """Sweep, print what was found, return the exit code."""
    with sweep, end_when_interrupted("interrupted; the same command goes on"):
        sweep.begin()
        with open_sweep_view(quiet, sweep.plan, sweep.layout) as view, catch_interrupts(sweep.stop) as interrupt:
            for state in sweep:
                view.show(state)
        with open_status(quiet, "drawing the plots"):
            findings = sweep.conclude()
        print_findings(findings, sweep.seconds, sys.argv[1:], as_json=as_json)
        deliver(sweep, "cnnlab sync", quiet=quiet)
    if interrupt.number:
        complain(f"interrupted; the same command goes on with {sweep.plan.study}")
        return 128 + interrupt.number
    if findings.best is None:
        complain("no trial was trained to its end; see the reasons by cnnlab show " + sweep.plan.study)
        return 1
    return 0
