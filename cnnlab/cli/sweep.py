"""`cnnlab sweep`"""

from pathlib import Path

import click

from cnnlab.cli.options import (
    experiment_name_option,
    output_options,
    read_experiment,
    setting_options,
    settings_of,
    tracking_uri_option,
)
from cnnlab.cli.sweep_options import SweepOptions, sweep_options
from cnnlab.config.space_reading import read_space


@click.command()
@click.argument("experiment", required=False, type=click.Path(path_type=Path))
@sweep_options
@setting_options
@experiment_name_option
@tracking_uri_option
@click.option("--dry-run", is_flag=True, help="Print the space, the first trials and the time it may take, and stop.")
@output_options
def sweep(
    experiment: Path | None,
    assignments: tuple[str, ...],
    experiment_name: str,
    tracking_uri: str | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **rest: object,
) -> int:
    """Search hyperparameters.

    EXPERIMENT is a YAML file whose `search:` says what may be tried; --search adds to it. Without either, learning
    rate, momentum, weight decay, batch size and dropout are searched. Trial 0 is the experiment as written. The same
    command again goes on where it stopped.

    \b
    Example: cnnlab sweep --search lr=1e-4:1:log --search batch_size=16,32,64 --trials 30
    """
    asked = SweepOptions.taken_from(rest)
    config = read_experiment(experiment, settings_of(rest, assignments))  # type: ignore[arg-type]
    space = read_space(config, asked.search)
    from cnnlab.cli.sweep_session import run_sweep, show_preview

    if dry_run:
        return show_preview(config, space, asked)
    return run_sweep(config, space, asked, experiment_name, tracking_uri, as_json=as_json, quiet=quiet)
