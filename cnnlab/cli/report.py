"""`cnnlab report`"""

from pathlib import Path
from tempfile import TemporaryDirectory

import click

from cnnlab.cli.completion import complete_any
from cnnlab.cli.options import new_file
from cnnlab.files import from_here


@click.command("report")
@click.argument("run", default="last", shell_complete=complete_any)
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    callback=new_file,
    help="The file. [default: report.html beside the run or study]",
)
@click.option("--storage", metavar="URL", help="The database of the sweep or comparison, if it is in one.")
def command(run: str, output: Path | None, storage: str | None) -> None:
    """RUN is a run id, an unambiguous beginning of one, last, a run's directory, or the name of a study. The page needs
    no network; its path is printed.

    \b
    Example: cnnlab report last -o run.html
    """
    from cnnlab.tracking import find_run, study_dir

    study = study_dir(run)
    place = study or find_run(run)
    file = output or place.path / "report.html"
    with TemporaryDirectory() as folder:
        if study is None:
            from cnnlab.reading import draw, run_page

            html = run_page(place, draw(place.path, Path(folder)))
        elif study.created.tags.get("kind") == "comparison":
            from cnnlab.comparison.figures import draw_comparison
            from cnnlab.comparison.recorded import stored_verdicts
            from cnnlab.comparison.report import comparison_page

            verdicts, _ = stored_verdicts(run, storage)
            html = comparison_page(verdicts, draw_comparison(verdicts, Path(folder)))
        else:
            from cnnlab.search.findings import stored_findings
            from cnnlab.search.sweep_report import draw_sweep, sweep_page

            findings, _ = stored_findings(run, storage)
            html = sweep_page(findings, draw_sweep(findings, Path(folder)))
    file.write_text(html, encoding="utf-8")
    click.echo(from_here(str(file)))
