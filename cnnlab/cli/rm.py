"""`cnnlab rm`"""

import click

from cnnlab.cli.completion import complete_any
from cnnlab.files import from_here


@click.command("rm")
@click.argument("words", metavar="RUN|STUDY...", nargs=-1, required=True, shell_complete=complete_any)
@click.option("--yes", is_flag=True, help="Delete. Without it, nothing is deleted.")
def command(words: tuple[str, ...], yes: bool) -> None:
    """RUN is a run id, an unambiguous beginning of one, or last; STUDY is the name of a sweep or a comparison, whose
    trials are deleted with it. A run that a live process has is never deleted.

    \b
    Example: cnnlab rm last --yes
    """
    from rich.filesize import decimal

    from cnnlab.tracking.removal import check_unused, remains, removable, remove, runs_within, size_of

    runs = list(dict.fromkeys(run for word in words for run in removable(word)))
    check_unused(runs)
    lines = []
    for run in runs:
        within = len(runs_within(run)) - 1
        below = f", {within} runs below it" if within else ""
        lines.append(f"{from_here(str(run.path))} ({decimal(size_of(run.path))}{below})")
        lines += [f"  remains: {words}" for words in remains(run)]
    if yes:
        remove(runs)
    for line in lines:
        click.echo(line if line.startswith(" ") else f"{'deleted' if yes else 'would delete'} {line}")
    if not yes:
        click.echo("nothing was deleted; add --yes to delete", err=True)
