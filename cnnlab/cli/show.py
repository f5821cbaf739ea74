"""`cnnlab show`"""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnnlab.cli.completion import complete_any
from cnnlab.cli.options import folder
from cnnlab.config import RunConfig, flat, flatten
from cnnlab.result import strict_json

if TYPE_CHECKING:
    from cnnlab.tracking import RunDir


@click.command("show")
@click.argument("words", metavar="[RUN]...", nargs=-1, shell_complete=complete_any)
@click.option(
    "--plot",
    type=click.Path(),
    callback=folder,
    help="Write the curves (and the confusion matrix, decision regions) as PNG into this folder.",
)
@click.option("--storage", metavar="URL", help="The database of the sweep or comparison, if it is in one.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON on stdout: the object of `train --json`, or a list of them."
)
def command(words: tuple[str, ...], plot: Path | None, storage: str | None, as_json: bool) -> None:
    """RUN is a run id, an unambiguous beginning of one, last (the default), a run's directory, or the name of a study.
    Several runs are shown as one table and one plot, labelled by the settings that differ.

    \b
    Example: cnnlab show last --plot figures
    """
    from cnnlab.cli.display.run_display import print_page, print_result
    from cnnlab.reading import draw, run_result
    from cnnlab.tracking import find_run, study_dir

    if len(words) > 1:
        _show_several(words, plot, as_json)
        return
    run = words[0] if words else "last"
    if study := study_dir(run):
        show = _show_comparison if study.created.tags.get("kind") == "comparison" else _show_sweep
        show(run, storage, as_json)
        return
    run_dir = find_run(run)
    if plot:
        for path in draw(run_dir.path, plot):
            click.echo(path, err=True)
    if as_json:
        print_result(run_result(run_dir), as_json=True)
        return
    _print_history(run_dir)
    print_result(run_result(run_dir), as_json=False)
    print_page(run_dir)


def _show_several(words: tuple[str, ...], plot: Path | None, as_json: bool) -> None:
    """Print a table of runs and their curves in one plot."""
    from cnnlab.reading import draw_several, run_result
    from cnnlab.reading.several import labels
    from cnnlab.tracking import find_run

    runs = list(dict.fromkeys(find_run(word) for word in words))
    results = [run_result(run) for run in runs]
    names = labels([result["config"] for result in results], [result["run_id"] for result in results])
    if plot:
        for path in draw_several(dict(zip(names, runs, strict=True)), plot):
            click.echo(path, err=True)
    if as_json:
        click.echo(strict_json(results))
        return
    from cnnlab.cli.display.runs_display import print_curves, print_runs

    print_curves(runs)
    print_runs(results)


def _show_comparison(name: str, storage: str | None, as_json: bool) -> None:
    """Print the result of a comparison so far, as at its end."""
    from cnnlab.cli.display.comparison_display import print_verdicts
    from cnnlab.comparison.recorded import stored_verdicts
    from cnnlab.comparison.report import comparison_result

    verdicts, seconds = stored_verdicts(name, storage)
    if as_json:
        click.echo(strict_json(comparison_result({name: verdicts}, seconds, one=True)))
    else:
        print_verdicts(name, verdicts, seconds)


def _show_sweep(study: str, storage: str | None, as_json: bool) -> None:
    """Print the result of a sweep so far, as at its end."""
    from cnnlab.cli.display.sweep_display import print_findings
    from cnnlab.search.findings import stored_findings

    findings, seconds = stored_findings(study, storage)
    print_findings(findings, seconds, command_of_sweep(study), as_json=as_json)


def command_of_sweep(study: str) -> list[str]:
    """The words after `cnnlab` that made it; empty if it was not made by `cnnlab sweep`."""
    from cnnlab.tracking import RunDir, studies_root

    command = shlex.split(RunDir(studies_root() / study).created.tags.get("command", ""))[1:]
    return command if command[:1] == ["sweep"] else []


def _print_history(run: "RunDir") -> None:
    """The settings that are not the defaults, the loss curve, the epochs."""
    from cnnlab.cli.display.run_display import epoch_table, loss_curve, regions_map
    from cnnlab.cli.display.terminal import result_console
    from cnnlab.reading.run_figures import examples_of
    from cnnlab.tracking import read

    console = result_console()
    records = read(run.journal_file)[0]
    default = flat(RunConfig())
    values = flatten(run.created.config)  # plain values: another version's run can be shown too
    changed = [f"{path}={value}" for path, value in values.items() if value != default.get(path)]
    console.print("settings: " + (", ".join(changed) or "all defaults"))
    console.print(loss_curve(records, min(console.width, 100)))
    console.print(epoch_table(records, console.width))
    if (regions := examples_of(run).get("regions")) is not None:
        console.print(regions_map(regions))
