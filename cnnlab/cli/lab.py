"""`cnnlab lab`"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from cnnlab.cli.options import command_options, options_of, output_options
from cnnlab.cli.streams import complain, typed
from cnnlab.config.commands import WorkerOptions
from cnnlab.errors import CnnlabError
from cnnlab.interrupts import catch_interrupts, end_when_interrupted
from cnnlab.result import strict_json

if TYPE_CHECKING:
    from cnnlab.lab.claim import Claim

F = TypeVar("F", bound=Callable[..., Any])


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from cnnlab.lab.claim import find_claims

    try:
        names = ["all", *find_claims(ctx.params.get("claims"))]
    except CnnlabError:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


claims_option = click.option(
    "--claims",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A folder of claim files. [default: experiments/claims, or the package's copy]",
)
quick_option = click.option("--quick", is_flag=True, help="Each claim in its quick form, on built-in data.")


@click.group("lab", invoke_without_command=True)
@claims_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list on stdout.")
@click.pass_context
def command(ctx: click.Context, claims: Path | None, as_json: bool) -> None:
    """Without a subcommand, the claims are listed with their last verdicts.

    \b
    Example: cnnlab lab run xor momentum --quick
    """
    if ctx.invoked_subcommand:
        ctx.default_map = {ctx.invoked_subcommand: {"claims": claims}}
        return
    from cnnlab.lab.laboratory import as_json as plain
    from cnnlab.lab.laboratory import judgement_of

    both = _both(claims)
    if as_json:
        click.echo(strict_json([plain(form) for forms in both for form in forms]))
        return
    from cnnlab.cli.display.terminal import WHOLE, plain_table, result_console

    table = plain_table("claim", "quick", "full", "what it says")
    table.columns[-1].no_wrap, table.columns[-1].overflow = False, "fold"
    for forms in both:
        words = [judgement.word if (judgement := judgement_of(form)) else "-" for form in forms]
        table.add_row(forms[0].name, *words, forms[0].claim)
    result_console(in_pipe=WHOLE).print(table)


@command.command("run")
@click.argument("names", nargs=-1, required=True, metavar="NAME...|all", shell_complete=_complete)
@quick_option
@claims_option
@command_options(WorkerOptions)
@output_options
def run(names: tuple[str, ...], quick: bool, claims: Path | None, as_json: bool, quiet: bool, **given: Any) -> int:
    """Train the arms of claims on paired seeds, and give each claim a verdict. The same command continues what was
    stopped; nothing is trained twice.

    \b
    Example: cnnlab lab run all --quick
    """
    from cnnlab.lab import Lab
    from cnnlab.lab.claim import chosen_claims, find_claims, read_claim

    files = chosen_claims(names, find_claims(claims))
    lab = Lab([read_claim(name, path, quick=quick) for name, path in files.items()], **options_of(WorkerOptions, given))
    with lab, end_when_interrupted("interrupted; nothing was written"):
        lab.check()
        from cnnlab.cli.display.terminal import deliver, open_status
        from cnnlab.lab.lab_report import in_words

        with catch_interrupts(lab.stop) as interrupt:
            for number, claim in enumerate(lab.claims, start=1):
                with open_status(quiet, f"{number} of {len(lab.claims)}: {claim.name}"):
                    for _ in lab.test(claim):
                        pass
                if interrupt.number:
                    break
                if not as_json:
                    click.echo(in_words(claim))
        if as_json:
            click.echo(strict_json(lab.result))
        deliver(lab, "cnnlab sync", quiet=quiet)
    if interrupt.number:
        complain(f"interrupted; the same command goes on: {typed(sys.argv[1:])}")
    return 128 + interrupt.number if interrupt.number else 0


@command.command("report")
@click.argument("folder", type=click.Path(path_type=Path))
@claims_option
def report(folder: Path, claims: Path | None) -> None:
    """Write lab.md into a folder, and the claims' figures into its folder images: the verdicts of the last runs here,
    the full form's if there is one, else the quick form's.

    \b
    Example: cnnlab lab report docs
    """
    from cnnlab.lab.lab_report import write_report

    click.echo(write_report(_both(claims), folder))


def _both(claims: Path | None) -> "list[tuple[Claim, Claim]]":
    """Each claim of a folder in its quick form and in its full one."""
    from cnnlab.lab.claim import find_claims, read_claim

    files = find_claims(claims)
    return [(read_claim(name, path, quick=True), read_claim(name, path)) for name, path in files.items()]
