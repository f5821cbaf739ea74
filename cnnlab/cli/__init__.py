"""The command line: a group that imports a command's file only when that command is typed."""

import importlib
import signal
import sys
from typing import Any

import click

from cnnlab import __version__
from cnnlab.cli.messages import complain
from cnnlab.cli.streams import open_streams
from cnnlab.errors import CnnlabError, Interrupted, RunFailed

COMMANDS = {
    "train": "Train one network.",
    "sweep": "Search hyperparameters.",
    "compare": "Compare optimizers, each tuned with the same budget.",
    "studies": "List the sweeps made here.",
    "runs": "List the runs made here.",
    "show": "Show one run, one sweep or one comparison: settings, curves, results.",
    "ui": "Open the MLflow UI on the runs made here.",
    "sync": "Deliver to MLflow what it has not got.",
    "doctor": "Say what is wrong here, and end the runs whose process died.",
}
"""Name -> the first line of its help, so that `cnnlab --help` imports no command.

A command is `command` in the module of its name, in which a hyphen is an underscore.
"""


class LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"cnnlab.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from difflib import get_close_matches

            close = get_close_matches(args[0], COMMANDS, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise click.UsageError(f"there is no command {args[0]!r}; there are {', '.join(COMMANDS)}{hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # click itself would print an empty line
            raise Interrupted("interrupted", signal.SIGINT) from None
        except EOFError as error:  # which click takes for Ctrl-C
            raise RunFailed(f"a file ends too early: {error}") from error


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="cnnlab %(version)s")
def cnnlab() -> None:
    """Experiments with the hyperparameters of convolutional networks.

    \b
    Example: cnnlab train --dataset digits --lr 0.05 --epochs 10
    """


def main(args: list[str] | None = None) -> None:
    """Run a command and end with its exit code."""
    sys.exit(run(args))


def run(args: list[str] | None = None) -> int:
    """Run a command; the exit code that the design gives its outcome."""
    open_streams()
    try:
        code = cnnlab.main(args=args, prog_name="cnnlab", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        code = error.exit_code
    except click.ClickException as error:
        complain(error.format_message())
        code = error.exit_code
    except CnnlabError as error:
        complain(str(error))
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        code = 130
    except OSError as error:  # a disk that is full, a file that may not be read
        complain(f"{error.filename or 'output'}: {error.strerror or error}")
        code = 1
    return code if isinstance(code, int) else 0
