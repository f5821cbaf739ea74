"""`cnnlab inspect`"""

from pathlib import Path
from typing import Any

import click

from cnnlab.cli.completion import complete_run
from cnnlab.cli.options import folder, output_options
from cnnlab.cli.streams import complain
from cnnlab.errors import BadInput, quoted
from cnnlab.result import strict_json


@click.command("inspect")
@click.argument("run", default="last", shell_complete=complete_run)
@click.option("--images", metavar="N|I,J,...", default="4", help="How many test images to explain, or their numbers.")
@click.option("--layer", metavar="NAME", help="The layer whose units to show. [default: the last convolution]")
@click.option("-o", "--output", type=click.Path(), callback=folder, help="Write into this folder, and not to MLflow.")
@output_options
def command(run: str, images: str, layer: str | None, output: Path | None, quiet: bool, as_json: bool) -> None:
    """RUN is a run id, an unambiguous beginning of one, last, or a run's directory. The pictures and a page,
    inspect.html, are written into its folder `inspect`, and MLflow gets them as artifacts.

    \b
    Example: cnnlab inspect last --images 3,14,15
    """
    from cnnlab.cli.display.inspection_display import print_inspection
    from cnnlab.cli.display.terminal import open_status
    from cnnlab.courier import deliver_again
    from cnnlab.reading.inspection_page import FOLDER, Inspector, inspect_run
    from cnnlab.tracking import find_run

    chosen = _images(images)
    found = find_run(run)
    with open_status(quiet, "inspecting"):
        inspector = Inspector(found.path, chosen, layer)
        result = inspect_run(inspector, output or found.path / FOLDER)
    if as_json:
        click.echo(strict_json(result))
    else:
        print_inspection(result, inspector)
    if output is None:
        with open_status(quiet, "handing over to MLflow"):
            failure = deliver_again(found)
        if failure:
            complain(f"MLflow does not have the pictures yet ({failure}); run cnnlab sync {found.word}")


def _images(text: str) -> Any:
    """A number of images, or a list of their indices. Raises BadInput for anything else."""
    words = text.split(",")
    try:
        values = [int(word) for word in words if word.strip()]
    except ValueError:
        values = []
    if not values or min(values) < (1 if len(words) == 1 else 0):
        raise BadInput(
            f"--images {quoted(text)}: is neither a number of images, as 4, nor a list of their numbers, as 3,14,15 "
            "or 7,"
        )
    return values[0] if len(words) == 1 else values
