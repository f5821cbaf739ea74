"""`cnnlab diagnose`"""

import click

from cnnlab.cli.completion import complete_any
from cnnlab.cli.show import command_of_sweep
from cnnlab.cli.streams import complain
from cnnlab.errors import BadInput, CnnlabError
from cnnlab.result import strict_json


@click.command("diagnose")
@click.argument("run", default="last", shell_complete=complete_any)
@click.option("--storage", metavar="URL", help="The database of the sweep, if it is in one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list on stdout.")
def command(run: str, storage: str | None, as_json: bool) -> None:
    """RUN is a run id, an unambiguous beginning of one, last, a run's directory, or the name of a sweep. Reads the
    curves, and the images with the trained network. Each finding has its numbers, the source of its rule and a command.

    \b
    Example: cnnlab diagnose last
    """
    from cnnlab.reading.diagnosis import Finding, findings_of, image_findings_of
    from cnnlab.tracking import find_run, study_dir

    findings: list[Finding]
    if study := study_dir(run):
        if study.created.tags.get("kind") == "comparison":
            raise BadInput(
                f"{run}: a comparison cannot be diagnosed, only a run or a sweep; cnnlab show {run} prints its warnings"
            )
        from cnnlab.cli.display.sweep_display import advised
        from cnnlab.search.findings import stored_findings

        name, findings = run, advised(stored_findings(run, storage)[0], command_of_sweep(run))
    else:
        run_dir = find_run(run)
        name, findings = run_dir.run_id, findings_of(run_dir)
        try:
            findings += image_findings_of(run_dir)
        except CnnlabError as error:  # the rules over the curves do not need the images
            complain(f"the images were not read: {error}")
    if as_json:
        click.echo(strict_json([vars(finding) for finding in findings]))
        return
    count = sum(finding.is_fault for finding in findings)
    click.echo(f"{name}: {count or 'no'} finding{'s' * (count != 1)}")
    for finding in findings:
        lines = dict.fromkeys([finding.title, finding.text])  # a sweep's warning has no title
        click.echo(f"\n{'!' if finding.is_fault else '?'} " + "\n  ".join(lines))
        for key, value in (("rule", finding.source), ("next", finding.command)):
            if value:
                click.echo(f"  {key}: {value}")
