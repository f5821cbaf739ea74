"""`cnnlab train`"""

from pathlib import Path

import click

from cnnlab.cli.options import output_options, place_options, read_experiment, setting_options, settings_of
from cnnlab.config import to_yaml
from cnnlab.config.moved import is_place
from cnnlab.errors import BadInput


@click.command()
@click.argument("experiment", required=False, type=click.Path(path_type=Path))
@setting_options
@place_options
@click.option(
    "--resume",
    metavar="RUN",
    help="Go on with a run that was stopped: its id, a beginning of it, last, or its directory.",
)
@click.option("--dry-run", is_flag=True, help="Print the whole config as YAML and stop.")
@output_options
def train(
    experiment: Path | None,
    assignments: tuple[str, ...],
    experiment_name: str,
    tracking_uri: str | None,
    run_dir: Path | None,
    resume: str | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **flags: str | None,
) -> int:
    """Train one network.

    EXPERIMENT is a YAML file, or a folder of images with one subfolder per class. A flag wins over the file, the file
    over the defaults. With nothing given, a small convolutional network is trained on the built-in digits.

    \b
    Example: cnnlab train --dataset digits --lr 0.05 --epochs 10
    """
    settings = settings_of(flags, assignments)
    if resume is not None and (experiment or run_dir or not all(map(is_place, settings))):
        raise BadInput(
            "--resume goes on with the run's own settings: leave out the experiment and all settings but those of the "
            "place (--device, -s place.threads=N)"
        )
    if resume is not None:
        from cnnlab.cli.session import train_on

        return train_on(resume, settings, as_json=as_json, quiet=quiet)
    config = read_experiment(experiment, settings)
    if dry_run:
        click.echo(to_yaml(config), nl=False)
        return 0
    from cnnlab.cli.session import train_new

    return train_new(config, experiment_name, tracking_uri, run_dir, as_json=as_json, quiet=quiet)
