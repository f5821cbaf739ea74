"""The command line: a group that imports the file of a command only if that command is typed."""

import errno
import importlib
import os
import signal
import sys
from inspect import cleandoc  # by name: the module cnnlab.cli.inspect becomes `inspect` here
from typing import Any

import click
from click.shell_completion import CompletionItem

from cnnlab import __version__
from cnnlab.cli.streams import complain, open_streams
from cnnlab.errors import CnnlabError, Interrupted, RunFailed, quoted, shortened
from cnnlab.process import received

COMMANDS = {
    "train": "Train one network.",
    "sweep": "Search hyperparameters.",
    "compare": "Compare optimizers, each tuned with the same budget.",
    "lab": "Test the claims of the course page.",
    "lr-find": "Find learning rates to search, by a range test.",
    "describe": "Show a network layer by layer: sizes, receptive field, parameters, memory.",
    "filters": "Show what a convolution does to a picture.",
    "studies": "List the sweeps and comparisons made here.",
    "runs": "List the runs made here.",
    "inspect": "Draw what a trained network sees: filters, activations, attributions, errors.",
    "show": "Show one run, one sweep or one comparison: settings, curves, results.",
    "diagnose": "Say what went wrong in a run or a sweep, with the numbers and what to do next.",
    "predict": "Predict the classes of images with the network of a run.",
    "evaluate": "Measure the network of a run, with intervals, per class and for calibration.",
    "export": "Write the network of a run in a format that other programs load.",
    "features": "Write the representations of images in a layer of a run's network.",
    "diff": "Compare two runs: settings that differ, curves, results.",
    "rm": "Show what runs and studies would be deleted, and delete them with --yes.",
    "rerun": "Train a run's recorded config again.",
    "report": "Write one run, one sweep or one comparison as an HTML page.",
    "ui": "Open the MLflow UI on the runs made here.",
    "sync": "Deliver what MLflow does not have yet.",
    "doctor": "Report problems here, and end the runs whose process died.",
}
"""Name -> the first line of its help: `cnnlab --help` imports no command.

A command is `command` in the module of its name (with an underscore for a hyphen). Its docstring is the rest of its
help.
"""

REMEDIES = {
    errno.ENOSPC: "make room on its disk, or write elsewhere (--run-dir, CNNLAB_DATA), then type the command again",
    errno.EDQUOT: "make room there, then type the command again",
    errno.EFBIG: "a limit on the size of files stops it; raise it (ulimit -f unlimited)",
    errno.EMFILE: "too many files are open for this limit; raise it (ulimit -n 4096)",
    errno.ENOLCK: "its file system has no working locks; put the run elsewhere (--run-dir)",
    errno.EROFS: "its file system cannot be written; work in another folder",
    errno.EACCES: "you may not write or read it; change its mode or owner, or work in another folder",
    errno.EIO: "its disk does not answer; look at the disk before anything else",
}
"""System error -> remedy."""
NO_MEMORY = ("failed to map segment", "annot allocate memory", "an't allocate memory", "an't start new thread")
"""Parts of the messages of the library loader, the system and PyTorch if memory is short or limited."""


class LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Imports no command."""
        commands = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"cnnlab.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        if not (command.help or "").startswith(COMMANDS[cmd_name]):
            command.help = f"{COMMANDS[cmd_name]}\n\n{cleandoc(command.help or '')}"
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from cnnlab.config.messages import nearest

            known = f"known are {', '.join(COMMANDS)}{nearest(args[0], COMMANDS)}"
            raise click.UsageError(f"{quoted(args[0])}: unknown command; {known}")
        name, command, words = super().resolve_command(ctx, args)
        if command and not ctx.resilient_parsing:  # True for the shell's completion
            _check_options(click.Context(command, parent=ctx), words)
        return name, command, words

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # Click would print an empty line
            raise Interrupted("interrupted", signal.SIGINT) from None
        except EOFError as error:  # which Click would handle as Ctrl-C
            raise RunFailed(f"a file ends too early: {error}") from error


def _check_options(ctx: click.Context, words: list[str]) -> None:
    """Raises UsageError for an unknown option, and for one that is given twice but counts once."""
    try:
        _, _, given = ctx.command.make_parser(ctx).parse_args(list(words))
    except click.NoSuchOption as error:
        option = error.option_name
        meant = _option_meant(option, ctx.command)
        hint = f"did you mean {meant}?" if meant else f"cnnlab {ctx.command.name} --help lists all options"
        raise click.UsageError(f"{shortened(option)}: unknown option; {hint}") from None
    for param in given:
        if isinstance(param, click.Option) and not (param.multiple or param.is_flag) and given.count(param) > 1:
            raise click.UsageError(f"{param.opts[0]} is given twice; keep one")


def _option_meant(word: str, command: click.Command) -> str | None:
    """The option, or -s with a setting, that a word most likely means."""
    from cnnlab.config.messages import closest, settings
    from cnnlab.config.run_config import FLAGS

    known = [word for param in command.params if isinstance(param, click.Option) for word in param.opts]
    options = {word.lstrip("-"): word for word in known}
    paths = settings() if "set" in options else []
    meant = closest(word.lstrip("-"), [*options, *paths])
    if meant in paths:
        flags = {path: flag for flag, path in FLAGS.items()}
        return f"--{flags[meant].replace('_', '-')}" if meant in flags else f"-s {meant}="
    return options.get(meant) if meant else None


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--install-completion",
    metavar="[SHELL]",
    is_flag=False,
    flag_value="auto",
    is_eager=True,
    expose_value=False,
    callback=lambda ctx, param, value: importlib.import_module("cnnlab.cli.completion").install(ctx, param, value),
    help="Install completion for bash, zsh or fish. [default: the shell of $SHELL]",
)
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
    """Run a command; returns its exit code."""
    received.clear()
    open_streams()
    if "_CNNLAB_COMPLETE" in os.environ:
        importlib.import_module("cnnlab.cli.completion")
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
        code = 128 + received[0] if received else error.exit_code
    except (KeyboardInterrupt, click.Abort):
        code = 130
    except OSError as error:  # a full disk, a file without permission
        remedy = REMEDIES.get(error.errno or 0, "then type the command again")
        complain(f"{error.filename or 'a file of this run'}: {error.strerror or error}; {remedy}")
        code = 1
    except (MemoryError, ImportError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(word in str(error) for word in NO_MEMORY):
            raise
        complain(f"not enough memory ({error}); end other programs, or raise the limit of this one (ulimit -v)")
        code = 1
    return code if isinstance(code, int) else 0
