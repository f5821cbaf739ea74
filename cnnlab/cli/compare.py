"""`cnnlab compare`"""

from pathlib import Path

import click

from cnnlab.cli.compare_options import CompareOptions, compare_options
from cnnlab.cli.options import (
    experiment_name_option,
    output_options,
    read_experiment,
    setting_options,
    settings_of,
    tracking_uri_option,
)
from cnnlab.config.arms import read_arms
from cnnlab.errors import BadInput

SEEDS = 10
SEEDS_OF_A_TRIAL_RUN = 5
"""Without an experiment: the quickest look at what the command does."""


@click.command()
@click.argument("experiment", required=False, type=click.Path(path_type=Path))
@compare_options
@setting_options
@experiment_name_option
@tracking_uri_option
@click.option("--dry-run", is_flag=True, help="Print what would be compared and tuned, and stop.")
@output_options
def compare(
    experiment: Path | None,
    assignments: tuple[str, ...],
    experiment_name: str,
    tracking_uri: str | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **rest: object,
) -> int:
    """Compare optimizers, each tuned with the same budget.

    EXPERIMENT is a YAML file or a folder of images. Each optimizer's own settings are tuned on validation data, the
    best is trained again on fresh seeds, and test accuracies are compared pair by pair. The same command again goes on
    where it stopped.

    \b
    Example: cnnlab compare --optimizers momentum,rmsprop,adam --trials 12 --seeds 10 --dataset fashion_mnist
    """
    asked = CompareOptions.taken_from(rest)
    if experiment and asked.workload:
        raise BadInput(f"{experiment}: with --workload the experiments are all named by it")
    settings = settings_of(rest, assignments)  # type: ignore[arg-type]
    questions = []
    for file in asked.workload or (experiment,):
        config = read_experiment(file, settings)
        questions.append((config, *read_arms(config, asked.optimizers, asked.over, asked.trials)))
    seeds = asked.seeds or (SEEDS if experiment or asked.workload else SEEDS_OF_A_TRIAL_RUN)
    from cnnlab.cli.compare_session import Wanted, run_comparison, show_preview

    wanted = Wanted(asked, questions, seeds, experiment_name, tracking_uri)
    if dry_run:
        return show_preview(wanted)
    return run_comparison(wanted, as_json=as_json, quiet=quiet)
