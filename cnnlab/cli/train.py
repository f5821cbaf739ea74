"""`cnnlab train`"""

from pathlib import Path

import click

from cnnlab.cli.completion import complete_run
from cnnlab.cli.options import (
    Command,
    command_options,
    experiment_argument,
    folder,
    output_options,
    read_experiment,
    setting_options,
    settings_of,
)
from cnnlab.cli.streams import complain
from cnnlab.config import to_yaml
from cnnlab.config.commands import RecordOptions
from cnnlab.config.run_config import is_place
from cnnlab.errors import BadInput
from cnnlab.interrupts import at_once_when_interrupted, catch_interrupts
from cnnlab.work import Training

EPOCHS = "training.epochs"


@click.command("train", cls=Command)
@experiment_argument
@setting_options
@command_options(RecordOptions)
@click.option(
    "--run-dir",
    type=click.Path(),
    callback=folder,
    help="Put the run's files here. [default: mlruns/runs/RUN_ID]",
)
@click.option(
    "--resume",
    metavar="RUN",
    shell_complete=complete_run,
    help="Continue a run that was stopped: its id, a beginning of it, last, or its directory. With --epochs N, train a "
    "finished run's weights for N more epochs, as a new run.",
)
@click.option("--dry-run", is_flag=True, help="Print the whole config as YAML and stop.")
@output_options
def command(
    experiment: Path | None,
    assignments: tuple[str, ...],
    experiment_name: str | None,
    tracking_uri: str | None,
    run_dir: Path | None,
    resume: str | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **flags: str | None,
) -> int:
    """EXPERIMENT is a YAML file, or a folder of images with one subfolder per class. A flag wins over the file, and the
    file over the defaults. Without arguments, a small convolutional network is trained on the built-in digits.

    \b
    Example: cnnlab train --dataset digits --lr 0.05 --epochs 10
    """
    settings = settings_of(flags, assignments)
    if resume is not None:
        place = {path: value for path, value in settings.items() if is_place(path)}
        if experiment or run_dir or set(settings) - set(place) - {EPOCHS}:
            raise BadInput(
                "--resume keeps the run's settings: leave out the experiment and all settings except those of the "
                "place (--device, -s place.threads=N), and --epochs for a run that has finished"
            )
        training = Training.resumed(resume, place, tracking_uri)
        status, name = training.result.status, training.run.run_id
        if EPOCHS in settings:
            if status != "finished":
                raise BadInput(
                    f"--epochs: {name} has not finished, so no epochs can be added; first finish it: "
                    f"cnnlab train --resume {training.run.word}"
                )
            added = training.continued(settings)
            complain(
                f"{name} has finished; a new run trains {settings[EPOCHS]} more epochs from its weights of the best "
                "epoch, with a new schedule"
            )
            return train_and_print(added, "no run was made", as_json=as_json, quiet=quiet)
        if status == "finished":
            from cnnlab.cli.display.run_display import print_result

            complain(f"{name} has finished; this is its result")
            print_result(training.result, as_json=as_json)
            return 0
        return train_and_print(training, "the run is as it was", as_json=as_json, quiet=quiet)
    config = read_experiment(experiment, settings)
    if dry_run:
        click.echo(to_yaml(config), nl=False)
        return 0
    training = Training(config, experiment_name=experiment_name, tracking_uri=tracking_uri, run_dir=run_dir)
    return train_and_print(training, "no run was made", as_json=as_json, quiet=quiet)


def train_and_print(training: Training, unchanged: str, *, as_json: bool, quiet: bool) -> int:
    """Train, print the result, return the exit code.

    Args:
        unchanged: what a signal before the first step leaves.
    """
    from cnnlab.cli.display.run_display import open_run_view, print_brief, print_page, print_result
    from cnnlab.cli.display.terminal import deliver

    with training:
        with at_once_when_interrupted(f"interrupted before the first step; {unchanged}"):
            training.prepare()
        with catch_interrupts(training.stop) as interrupt:
            with open_run_view(quiet, training.before) as show:
                for record in training:
                    show(record)
            if not as_json:  # --json waits for MLflow's id of the run
                print_result(training.result, as_json=False, store=training.tracking_uri)
                print_brief(training.run)
            deliver(training, f"cnnlab sync {training.run.word}", quiet=quiet)
    result = training.result
    if as_json:
        print_result(result, as_json=True)
    else:
        print_page(training.run)
    if result.status != "finished":
        complain(result.reason)
    return 128 + interrupt.number if interrupt.number else int(result.status != "finished")
