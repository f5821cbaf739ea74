"""`cnnlab compare`"""

import sys
from pathlib import Path
from typing import Any

import click

from cnnlab.cli.messages import complain, typed
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
from cnnlab.cli.printing.comparison import print_comparison, print_contests
from cnnlab.cli.views.delivery import deliver
from cnnlab.cli.views.run import open_status
from cnnlab.cli.views.sweep import EachSweepsView
from cnnlab.comparison import Comparison
from cnnlab.config.arms import DEFAULT, SHIPPED
from cnnlab.errors import BadInput
from cnnlab.interrupts import catch_interrupts, end_when_interrupted

FEWEST_SEEDS = 2
SEEDS = 10
SEEDS_OF_A_FIRST_LOOK = 5
"""Without an experiment: the quickest look at what the command does."""


class ForEach(click.ParamType[int]):
    """A number that is the same for all arms."""

    name = "N"

    def __init__(self, least: int) -> None:
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        option = param.opts[0] if param else "it"
        text = str(value)
        if "=" in text or "," in text:
            raise BadInput(f"{option} {text}: unequal budgets cannot be compared; give one number for all")
        if not text.isdecimal() or not self.least <= int(text) <= 1_000_000:
            raise BadInput(f"{option} {text}: it must be a whole number from {self.least} on")
        return int(text)


@click.command("compare", cls=Command)
@click.argument("experiment", required=False, type=click.Path(path_type=Path))
@click.option(
    "--optimizers",
    metavar="A,B,...",
    help=f"Which: {', '.join(SHIPPED)}, torch.optim.NAME. "
    f"[default: `compare:` of the experiment, or {','.join(DEFAULT)}]",
)
@click.option(
    "--over",
    metavar="NAME=A,B,...",
    help="Compare the values of this setting instead, the learning rate tuned for each: model.activation=relu,tanh",
)
@click.option(
    "--workload",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="An experiment; several times for a score over all of them.",
)
@click.option(
    "--trials", type=ForEach(1), default="8", show_default=True, help="Of each arm; the first is its defaults."
)
@click.option(
    "--seeds",
    type=ForEach(FEWEST_SEEDS),
    help="Fresh ones, on which the best of each is trained again. [default: 10; 5 without an experiment]",
)
@click.option(
    "--margin",
    type=click.FloatRange(min=0),
    help="A difference too small to matter, in the score's unit. [default: the score's own, 0.2 points of a fraction]",
)
@click.option(
    "--target",
    type=float,
    help="Validation score to be reached, as 0.9. [default: the median of the untuned defaults]",
)
@sampler_option("qmc", "qmc")
@workers_option
@study_option
@storage_option
@setting_options
@experiment_name_option
@tracking_uri_option
@click.option("--dry-run", is_flag=True, help="Print what would be compared and tuned, and stop.")
@output_options
def command(
    experiment: Path | None,
    assignments: tuple[str, ...],
    workload: tuple[Path, ...],
    seeds: int | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **asked: Any,
) -> int:
    """Compare optimizers, each tuned with the same budget.

    EXPERIMENT is a YAML file or a folder of images. Each optimizer's own settings are tuned on validation data, the
    best is trained again on fresh seeds, and test scores are compared pair by pair. The same command again goes on
    where it stopped.

    \b
    Example: cnnlab compare --optimizers momentum,rmsprop,adam --trials 12 --seeds 10 --dataset fashion_mnist
    """
    if experiment and workload:
        raise BadInput(f"{experiment}: with --workload the experiments are all named by it")
    settings = settings_of(taken_flags(asked), assignments)
    configs = [read_experiment(file, settings) for file in workload or (experiment,)]
    seeds = seeds or (SEEDS if experiment or workload else SEEDS_OF_A_FIRST_LOOK)
    comparison = Comparison(configs, seeds=seeds, **asked)
    if dry_run:
        comparison.check()
        print_contests(comparison)
        return 0
    return _compare(comparison, as_json=as_json, quiet=quiet)


def _compare(comparison: Comparison, *, as_json: bool, quiet: bool) -> int:
    """Compare, print what was found, return the exit code."""
    with comparison, end_when_interrupted("interrupted; the same command goes on"):
        comparison.check()
        with catch_interrupts(comparison.stop) as interrupt:
            for contest in comparison.contests:
                with EachSweepsView(quiet, comparison.layout) as view:
                    for state in comparison.tune(contest):
                        view.show(state)
                with open_status(quiet, "drawing the figures"):
                    comparison.judge(contest)
                if interrupt.number:
                    break
        profile = comparison.conclude()
        if as_json or not interrupt.number:  # of a part of the trainings there is nothing to say to people
            print_comparison(comparison, profile, as_json=as_json)
        deliver(comparison, "cnnlab sync", quiet=quiet)
    if interrupt.number:
        progress = ", ".join(arm for contest in comparison.contests for arm in contest.progress())
        complain(f"interrupted: {progress}; the same command goes on: {typed(sys.argv[1:])}")
        return 128 + interrupt.number
    if not any(verdicts.pairs for verdicts in comparison.verdicts.values()):
        complain("fewer than two arms were trained to their end; see the reasons by cnnlab show STUDY")
        return 1
    return 0
