"""`cnnlab compare`"""

import sys
from dataclasses import replace
from itertools import chain, groupby
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
from cnnlab.cli.streams import complain, typed
from cnnlab.comparison import Comparison
from cnnlab.config.commands import CompareOptions
from cnnlab.errors import BadInput
from cnnlab.interrupts import catch_interrupts, end_when_interrupted


@click.command("compare", cls=Command)
@experiment_argument
@click.option(
    "--workload",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="An experiment; several times for a score over all of them.",
)
@command_options(CompareOptions)
@setting_options
@click.option("--dry-run", is_flag=True, help="Print what would be compared and tuned, and stop.")
@output_options
def command(
    experiment: Path | None,
    assignments: tuple[str, ...],
    workload: tuple[Path, ...],
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> int:
    """EXPERIMENT is a YAML file or a folder of images. Each optimizer's settings are tuned several times on validation
    data, the winner of each tuning is trained again on fresh seeds, and test scores are compared pair by pair over the
    tunings. The same command continues a comparison that was stopped.

    \b
    Example: cnnlab compare --optimizers momentum,rmsprop,adam --thorough --dataset fashion_mnist
    """
    if experiment and workload:
        raise BadInput(f"{experiment}: --workload is given too; name each experiment by --workload")
    settings = settings_of(given, assignments)
    configs = [read_experiment(file, settings) for file in workload or (experiment,)]
    comparison = Comparison(configs, **options_of(CompareOptions, given))
    if dry_run:
        from cnnlab.cli.display.comparison_display import print_contests

        comparison.check()
        print_contests(comparison)
        return 0
    return _compare(comparison, as_json=as_json, quiet=quiet)


def _compare(comparison: Comparison, *, as_json: bool, quiet: bool) -> int:
    """Compare, print the result, return the exit code."""
    with comparison, end_when_interrupted("interrupted; the same command goes on"):
        comparison.check()
        from cnnlab.cli.display.comparison_display import print_comparison
        from cnnlab.cli.display.sweep_display import open_sweep_view
        from cnnlab.cli.display.terminal import deliver, open_status

        if not quiet:
            trainings, seconds = comparison.estimate()
            budget = f"up to {trainings:,} trainings, about {seconds / 60:.1f} minutes"
            click.echo(f"{budget}, {comparison.workers}", err=True)
        with catch_interrupts(comparison.stop) as interrupt:
            for contest in comparison.contests:
                doubted = False
                for _, states in groupby(comparison.tune(contest), lambda state: state.stage.plan.study):
                    first = next(states)
                    plan = replace(first.stage.plan, doubts=[]) if doubted else first.stage.plan
                    doubted = True  # each arm has the same images, so the same doubts
                    with open_sweep_view(quiet, plan, comparison.workers) as show:
                        for state in chain([first], states):
                            show(state)
                with open_status(quiet, "drawing the figures"):
                    comparison.judge(contest)
                if interrupt.number:
                    break
        profile = comparison.conclude()
        if as_json or not interrupt.number:  # people get no verdict on a part of the trainings
            print_comparison(comparison, profile, as_json=as_json)
        deliver(comparison, "cnnlab sync", quiet=quiet)
    if interrupt.number:
        progress = ", ".join(arm for contest in comparison.contests for arm in contest.progress())
        complain(f"interrupted: {progress}; the same command goes on: {typed(sys.argv[1:])}")
        return 128 + interrupt.number
    if not any(verdicts.pairs for verdicts in comparison.verdicts.values()):
        complain("fewer than two arms were trained to their end; cnnlab show STUDY gives the reasons")
        return 1
    return 0
