"""`cnnlab show`"""

import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnnlab.cli.options import folder
from cnnlab.config import RunConfig, flat, flatten
from cnnlab.errors import BadInput
from cnnlab.records import SweepEnded, SweepStarted
from cnnlab.result import strict_json

if TYPE_CHECKING:
    from cnnlab.search.findings import Findings
    from cnnlab.tracking import RunDir


@click.command("show")
@click.argument("run", default="last")
@click.option(
    "--plot",
    type=click.Path(),
    callback=folder,
    help="Write the curves (and the confusion matrix) as PNG into this folder.",
)
@click.option("--storage", metavar="URL", help="The database of the sweep or comparison, if it is in one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout: that of `train --json`.")
def command(run: str, plot: Path | None, storage: str | None, as_json: bool) -> None:
    """RUN is a run id, an unambiguous beginning of one, last, a run's directory, or the name of a study.

    \b
    Example: cnnlab show last --plot figures
    """
    from cnnlab.cli.display.run_display import print_page, print_result
    from cnnlab.reading import draw, run_result
    from cnnlab.tracking import find_run

    if kind := kind_of_study(run):
        show = _show_comparison if kind == "comparison" else _show_sweep
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


def kind_of_study(name: str) -> str:
    """`sweep` or `comparison`; empty if no study has this name."""
    from cnnlab.tracking import RunDir, studies_root

    is_name = name and name == os.path.basename(name)  # a path may be absolute, and then lead out of the studies
    if not is_name or not os.path.exists(studies_root() / name / "journal.jsonl"):  # Path's fails for a long name
        return ""
    return RunDir(studies_root() / name).created.tags.get("kind", "sweep")


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
    from cnnlab.tracking import RunDir, last, read, studies_root

    records = read(RunDir(studies_root() / study).journal_file)[0]
    started, ended = last(records, SweepStarted), last(records, SweepEnded)
    findings = stored_findings(study, storage)
    assert started is not None
    seconds = ended.time - started.time if ended else time.time() - started.time
    print_findings(findings, seconds, command_of_sweep(study), as_json=as_json)


def stored_findings(study: str, storage: str | None) -> "Findings":
    """The findings of a sweep so far. Raises BadInput if the storage does not have it."""
    from cnnlab.search.findings import findings_of
    from cnnlab.search.storage import storage_url
    from cnnlab.search.study import stored_plan

    plan = stored_plan(study, storage_url(storage, study))
    if plan is None:
        raise BadInput(f"{study}: its study is not in {storage or 'its folder'}; if it is in a database, add --storage")
    return findings_of(plan)


def command_of_sweep(study: str) -> list[str]:
    """The words after `cnnlab` that made it; empty if it was not made by `cnnlab sweep`."""
    from cnnlab.tracking import RunDir, studies_root

    command = shlex.split(RunDir(studies_root() / study).created.tags.get("command", ""))[1:]
    return command if command[:1] == ["sweep"] else []


def _print_history(run: "RunDir") -> None:
    """The settings that are not the defaults, the loss curve, the epochs."""
    from cnnlab.cli.display.run_display import epoch_table, loss_curve
    from cnnlab.cli.display.terminal import result_console
    from cnnlab.tracking import read

    console = result_console()
    records = read(run.journal_file)[0]
    default = flat(RunConfig())
    values = flatten(run.created.config)  # plain values: another version's run can be shown too
    changed = [f"{path}={value}" for path, value in values.items() if value != default.get(path)]
    console.print("settings: " + (", ".join(changed) or "all defaults"))
    console.print(loss_curve(records, min(console.width, 100)))
    console.print(epoch_table(records))
