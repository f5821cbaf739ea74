"""`cnnlab describe`"""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from cnnlab.cli.completion import complete_run
from cnnlab.cli.options import Command, folder, read_experiment, setting_options, settings_of
from cnnlab.config import RunConfig
from cnnlab.config.data import DATASETS
from cnnlab.config.messages import nearest
from cnnlab.config.models import MODELS
from cnnlab.config.section import tag_of
from cnnlab.errors import BadInput, quoted
from cnnlab.result import strict_json

if TYPE_CHECKING:
    from cnnlab.reading.description import Samples


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    models = [CompletionItem(name) for name in MODELS if name.startswith(incomplete)]
    return models + complete_run(ctx, param, incomplete)


@click.command("describe", cls=Command)
@click.argument("subject", metavar="[MODEL|EXPERIMENT|RUN]", required=False, shell_complete=_complete)
@setting_options
@click.option("--shape", metavar="CxHxW", help="Of images of this shape, as 3x224x224. [default: the dataset's]")
@click.option("--classes", type=click.IntRange(1, 10**6), help="With this many classes. [default: the dataset's]")
@click.option("--plot", type=click.Path(), callback=folder, help="Write describe.png into this folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, and nothing else.")
def command(
    subject: str | None,
    assignments: tuple[str, ...],
    shape: str | None,
    classes: int | None,
    plot: Path | None,
    as_json: bool,
    **flags: str | None,
) -> None:
    """MODEL is a model's name, EXPERIMENT as of `cnnlab train`, RUN a run id, an unambiguous beginning of one, last, or
    a run's directory. Nothing is trained, and weights are not made: a large network is described as fast as a small
    one. Rows are in the order of the forward pass. The receptive field is that of the formula, which may be larger than
    the image; behind branches it is the largest of them.

    \b
    Example: cnnlab describe torchvision/vgg16 --shape 3x224x224 --classes 1000
    """
    config, samples = _read(subject, settings_of(flags, assignments))
    if shape is not None:
        samples = samples._replace(shape=_shape(shape))
    if classes is not None:
        samples = samples._replace(classes=classes)

    from cnnlab.cli.display.description_display import print_description
    from cnnlab.reading.description import describe, draw_description

    result = describe(config, samples)
    if plot:
        click.echo(draw_description(result, plot), err=True)
    if as_json:
        click.echo(strict_json(result))
    else:
        print_description(result)


def _read(subject: str | None, settings: dict[str, Any]) -> "tuple[RunConfig, Samples]":
    """The config and its samples. Raises BadInput if `subject` is neither a model, a file, a folder nor a run."""
    from cnnlab.reading.description import of_run, samples_of
    from cnnlab.tracking import find_run

    name = (subject or "").lower()
    if subject is not None and (tag := tag_of(MODELS, name)) not in MODELS:
        if os.path.exists(subject) and not os.path.exists(Path(subject) / "journal.jsonl"):
            config = read_experiment(Path(subject), settings)
            return config, samples_of(config)
        try:
            run = find_run(subject)
        except BadInput as error:
            raise BadInput(f"{error}; nor is it a model{nearest(subject, MODELS)}") from None
        if settings:
            raise BadInput(
                f"{', '.join(settings)}: a run has its own settings; leave them out, or describe its file: "
                f"cnnlab describe {os.path.relpath(run.config_file)} ..."
            )
        return of_run(run)
    if subject is not None:
        if "model.name" in settings:
            raise BadInput(f"model.name is given twice, by {subject} and by --model {settings['model.name']}; keep one")
        settings["model.name"] = name
        if (tasks := MODELS[tag].tasks) and "data.dataset" not in settings:
            settings["data.dataset"] = next(dataset for dataset, entry in DATASETS.items() if entry.task in tasks)
    config = read_experiment(None, settings)
    return config, samples_of(config)


def _shape(text: str) -> tuple[int, int, int]:
    """Raises BadInput if the text is not CxHxW."""
    if not re.fullmatch(r"[1-9]\d{0,4}(x[1-9]\d{0,4}){2}", text.lower()):
        raise BadInput(
            f"--shape {quoted(text)}: is not allowed; it must be channels, height and width of images, as 3x224x224"
        )
    channels, height, width = map(int, text.lower().split("x"))
    return channels, height, width
