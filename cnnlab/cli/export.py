"""`cnnlab export`"""

from pathlib import Path

import click

from cnnlab.cli.options import folder
from cnnlab.result import strict_json


@click.command("export")
@click.argument("run")
@click.option(
    "--format", "kind", type=click.Choice(["onnx", "pt2", "safetensors", "mlflow"]), required=True, help="The format."
)
@click.option(
    "-o", "--output", type=click.Path(), callback=folder, help="A new folder for it. [default: RUN_ID-FORMAT here]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def command(run: str, kind: str, output: Path | None, as_json: bool) -> None:
    """RUN is a run id, an unambiguous beginning of one, last, or a run's directory. Normalisation and classes are in
    the file. It is compared with the original on test images before it is kept; a README beside it has the lines that
    load it. onnx needs the extra export.

    \b
    Example: cnnlab export last --format onnx -o digits-onnx
    """
    from cnnlab.reading.exporting import export
    from cnnlab.reading.trained import load_trained
    from cnnlab.tracking import find_run

    trained = load_trained(find_run(run).path)
    result = export(trained, kind, output)
    if as_json:
        click.echo(strict_json(result))
    else:
        click.echo(
            f"{result.file}: differs from the original by {result.difference:.1e} on {result.images} test "
            f"{trained.started.samples}"
        )
