"""`cnnlab predict`"""

import csv
import sys

import click

from cnnlab.cli.options import device_option
from cnnlab.cli.streams import complain
from cnnlab.errors import BadInput
from cnnlab.result import Result, strict_json


@click.command("predict")
@click.argument("run")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE|FOLDER|- ...")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="The number of classes per image.")
@click.option("--resize", "side", type=click.IntRange(1, 4096), help="Side in pixels, if not that of the training.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per image on stdout.")
@click.option(
    "--csv", "as_csv", is_flag=True, help="Print a table with the columns image, rank, class and probability."
)
@device_option
def command(
    run: str, images: tuple[str, ...], top: int, side: int | None, as_json: bool, as_csv: bool, device: str
) -> int:
    """RUN is a run id, an unambiguous beginning of one, last, or a run's directory. An image is read as those of the
    training were; - is one on stdin. Of masks, the share of each class in the pixels is printed. If an image cannot be
    read, stderr has a line about it, and the exit code is 1.

    \b
    Example: cnnlab predict last cat.jpg pictures/
    """
    from cnnlab.reading.predictions import find_pictures, predict
    from cnnlab.reading.trained import load_trained
    from cnnlab.tracking import find_run

    if as_json and as_csv:
        raise BadInput("--json and --csv are both given; keep one")
    show = _print_json if as_json else _print_rows if as_csv else _print_line
    if as_csv:
        click.echo("image,rank,class,probability")
    unread = 0
    for result in predict(load_trained(find_run(run).path), find_pictures(images), top, device, side):
        if "error" in result:
            unread += 1
            complain(f"{result.image} is not an image that can be read ({result.error})")
        if as_json or "error" not in result:
            show(result)
    return int(unread > 0)


def _print_json(result: Result) -> None:
    click.echo(strict_json(result))


def _print_rows(result: Result) -> None:
    rows = enumerate(map(dict.values, result.predictions), start=1)
    csv.writer(sys.stdout, lineterminator="\n").writerows([result.image, rank, *values] for rank, values in rows)


def _print_line(result: Result) -> None:
    click.echo(f"{result.image}: " + ", ".join("{} {:.1%}".format(*answer.values()) for answer in result.predictions))
