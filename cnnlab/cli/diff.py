"""`cnnlab diff`"""

from pathlib import Path

import click

from cnnlab.cli.completion import complete_run
from cnnlab.cli.options import folder
from cnnlab.errors import BadInput
from cnnlab.result import strict_json

RESULTS = ("status", "epochs", "steps", "best_epoch", "parameters", "fit_seconds", "images_per_second", "device")


@click.command("diff")
@click.argument("one", metavar="RUN", shell_complete=complete_run)
@click.argument("other", metavar="RUN", shell_complete=complete_run)
@click.option("--plot", type=click.Path(), callback=folder, help="Write the curves as PNG into this folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def command(one: str, other: str, plot: Path | None, as_json: bool) -> None:
    """Each RUN is a run id, an unambiguous beginning of one, last, or a run's directory.

    \b
    Example: cnnlab diff 20261126-1807 last --plot figures
    """
    from cnnlab.reading import draw_several, run_result
    from cnnlab.reading.several import differing, labels
    from cnnlab.tracking import find_run

    runs = [find_run(word) for word in (one, other)]
    if runs[0] == runs[1]:
        raise BadInput(f"{other}: the same run twice; name two")
    results = [run_result(run) for run in runs]
    configs, ids = [result["config"] for result in results], [result["run_id"] for result in results]
    settings = differing(configs)
    settings_rows = {path: [each.get(path) for each in settings] for path in {**settings[0], **settings[1]}}
    metrics = [
        {f"{split} {name}": value for split, values in result["metrics"].items() for name, value in values.items()}
        for result in results
    ]
    results_rows = {
        **{name: [each.get(name) for each in metrics] for name in {**metrics[0], **metrics[1]}},
        **{name: [result[name] for result in results] for name in RESULTS},
    }
    if plot:
        for path in draw_several(dict(zip(labels(configs, ids), runs, strict=True)), plot):
            click.echo(path, err=True)
    if as_json:
        click.echo(strict_json({"runs": ids, "settings": settings_rows, "results": results_rows}))
        return
    from cnnlab.cli.display.runs_display import print_curves, print_pairs

    click.echo("\n".join(f"{letter} {run_id}" for letter, run_id in zip("AB", ids, strict=True)))
    if settings_rows:
        print_pairs("setting", settings_rows)
    else:
        click.echo("no setting differs")
    print_curves(runs)
    print_pairs("result", {name: pair for name, pair in results_rows.items() if pair != [None, None]})
