"""`cnnlab evaluate`"""

from pathlib import Path
from typing import Any

import click

from cnnlab.cli.options import dataset_options, dataset_settings, device_option, folder
from cnnlab.cli.streams import complain
from cnnlab.metrics import words_of
from cnnlab.result import Result, strict_json

LISTED = 10
"""With more classes the confusion matrix is not printed."""


@click.command("evaluate")
@click.argument("run")
@dataset_options
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test", "all"]),
    default="test",
    show_default=True,
    help="Which part of it; all is the three together.",
)
@click.option(
    "--plot", type=click.Path(), callback=folder, help="Write reliability.png and confusion.png into this folder."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@device_option
def command(
    run: str,
    dataset: str | None,
    data_root: str | None,
    assignments: tuple[str, ...],
    split: str,
    plot: Path | None,
    as_json: bool,
    device: str,
) -> None:
    """RUN is a run id, an unambiguous beginning of one, last, or a run's directory. Intervals are of 95 %, by the
    bootstrap over images. The classes must be those of the run.

    \b
    Example: cnnlab evaluate last --data-root new_pictures --split all
    """
    from cnnlab.reading.evaluation import draw_evaluation, evaluate, load_for
    from cnnlab.reading.trained import load_trained
    from cnnlab.tracking import find_run

    settings = dataset_settings(dataset, data_root, assignments)
    trained = load_trained(find_run(run).path)
    found, doubts = load_for(trained, settings)
    for doubt in doubts:
        complain(doubt)
    result = evaluate(trained, found, split, device)
    if as_json:
        click.echo(strict_json(result))
    else:
        _print(result, trained.started.samples)
    for path in draw_evaluation(result, plot) if plot else ():
        click.echo(path, err=True)


def _print(result: Result, samples: str) -> None:
    from cnnlab.cli.display.terminal import WHOLE, plain_table, result_console

    console = result_console(in_pipe=WHOLE)
    console.print(f"{result.run_id} on {result.split} of {result.dataset}, {result.images:,} {samples}")
    for name, one in result.metrics.items():
        console.print(
            f"{words_of(name):17} {one['value']:.4f}  95 % interval {one['ci_low']:.4f} to {one['ci_high']:.4f}"
        )
    console.print(f"calibration error {result.ece:.4f}\n")
    headings = [samples if key == "images" else key for key in result.classes[0]]
    classes = plain_table(*headings, right=headings[1:])
    for row in result.classes:
        classes.add_row(*map(_cell, row.values()))
    console.print(classes)
    if len(result.classes) <= LISTED:
        names = [row["class"] for row in result.classes]
        matrix = plain_table("true \\ predicted", *names, right=names)
        for name, counts in zip(names, result.confusion, strict=True):
            matrix.add_row(name, *map(str, counts))
        fits = console.measure(matrix).maximum <= console.width
        console.print()
        console.print(matrix if fits else "The confusion matrix is wider than this terminal; --plot FOLDER draws it.")


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
