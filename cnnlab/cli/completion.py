"""Completion in bash, zsh and fish: installing it, and the words that complete settings, runs and studies."""

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ZshComplete,
    add_completion_class,
    get_completion_class,
)

from cnnlab.errors import BadInput, CnnlabError, quoted

SHELLS = ("bash", "zsh", "fish")
MOST_DESCRIBED = 20
"""The number of runs with a score: reading a journal takes milliseconds."""


@add_completion_class
class Bash(BashComplete):
    """Bash splits words at `=`, and would add a space after a setting's `=`."""

    source_template = BashComplete.source_template.replace(
        "COMPREPLY+=($value)", "COMPREPLY+=($value)\n            [[ $value == *= ]] && compopt -o nospace"
    )

    def get_completion_args(self) -> tuple[list[str], str]:
        args, incomplete = super().get_completion_args()
        words: list[str] = []
        for word in [*args, incomplete]:
            if words and (word == "=" or words[-1].endswith("=")):
                words[-1] += word
            else:
                words.append(word)
        return words[:-1], words[-1]

    def complete(self) -> str:
        """Several candidates are listed with their descriptions; bash itself inserts only what they have in common."""
        args, incomplete = self.get_completion_args()
        items = self.get_completions(args, incomplete)
        before = incomplete[: incomplete.rfind("=") + 1]  # which bash keeps
        lines = []
        for item in items:
            described = f"{item.value}  ({item.help})" if item.help and len(items) > 1 else item.value
            lines.append(f"{item.type},{described.removeprefix(before)}")
        return "\n".join(lines)


@add_completion_class
class Zsh(ZshComplete):
    """Zsh would add a space after a setting's `=`."""

    source_template = ZshComplete.source_template.replace(
        'completions+=("$key")',
        'if [[ "$key" == *= ]]; then compadd -U -S "" -- "$key"; else completions+=("$key"); fi',
    )


@add_completion_class
class Fish(FishComplete):
    """Fish would cut a description at its first comma."""

    source_template = FishComplete.source_template.replace('string split ","', 'string split --max 1 ","')


def install(ctx: click.Context, param: click.Parameter, shell: str | None) -> None:
    """The callback of --install-completion: write the shell's script, and a line that reads it at its start."""
    if shell is None or ctx.resilient_parsing:
        return
    name = Path(os.environ.get("SHELL", "")).name if shell == "auto" else shell
    if name not in SHELLS:
        raise BadInput(f"--install-completion: {quoted(name)} is not supported; it must be one of {', '.join(SHELLS)}")
    kind = get_completion_class(name)
    assert kind is not None
    source = kind(ctx.command, {}, "cnnlab", "_CNNLAB_COMPLETE").source()
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    script = config / "fish/completions/cnnlab.fish" if name == "fish" else config / "cnnlab" / f"complete.{name}"
    if name == "zsh":
        source = f"(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit }}\n{source}"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(source)
    click.echo(f"wrote {script}")
    if name != "fish":
        start = Path(os.environ.get("ZDOTDIR") or Path.home()) / ".zshrc" if name == "zsh" else Path.home() / ".bashrc"
        line = f"source '{script}'"
        if line not in (start.read_text().splitlines() if start.exists() else []):
            with start.open("a") as file:
                file.write(f"\n{line}\n")
            click.echo(f"added to {start}: {line}")
    click.echo(f"open a new {name}, then type cnnlab and press Tab")
    ctx.exit()


def complete_setting(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """PATH=VALUE: first the path, then the names that the setting takes."""
    from cnnlab.config.messages import settings
    from cnnlab.config.run_config import fields_of, names_of, types_of

    path, equals, value = incomplete.partition("=")
    if not equals:
        return [CompletionItem(f"{name}=") for name in settings() if name.startswith(path)]
    fields = fields_of(path)
    names = [name for field in fields for name in names_of(field)]
    names += ["true", "false"] if any(bool in types_of(field) for field in fields) else []
    return [CompletionItem(f"{path}={name}") for name in dict.fromkeys(names) if name.startswith(value)]


def complete_run(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of runs, newest first, each with its date and its score."""
    from cnnlab.tracking import list_runs

    runs = [run for run in reversed(list_runs()) if run.path.name.startswith(incomplete)]
    described = [CompletionItem(run.path.name, help=_run_help(run)) for run in runs[:MOST_DESCRIBED]]
    return described + [CompletionItem(run.path.name) for run in runs[MOST_DESCRIBED:]]


def complete_study(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of sweeps and comparisons, each with its date and its best value."""
    from cnnlab.tracking import list_studies

    studies = [run for run in list_studies() if run.path.name.startswith(incomplete)]
    return [CompletionItem(run.path.name, help=", ".join(_study_help(run))) for run in studies]


def complete_any(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Runs and studies."""
    return [*complete_run(ctx, param, incomplete), *complete_study(ctx, param, incomplete)]


def _run_help(run: Any) -> str:
    from cnnlab.metrics import short_name
    from cnnlab.reading import run_result

    try:
        result = run_result(run)
    except CnnlabError:
        return "unreadable"
    value, name = result["score"]["value"], short_name(result["score"]["name"])
    return f"{_date(run)}, {result['status'] if value is None else f'{name} {value:.4f}'}"


def _study_help(run: Any) -> Iterator[str]:
    from cnnlab.records import ComparisonEnded, SweepEnded
    from cnnlab.tracking import last, read

    with suppress(CnnlabError):
        yield _date(run)
        records = read(run.journal_file)[0]
        sweep, comparison = last(records, SweepEnded), last(records, ComparisonEnded)
        if sweep and sweep.best_value is not None:
            yield f"best {sweep.best_value:.4f}"
        if comparison and comparison.ranking:
            yield f"best {comparison.ranking[0]}"


def _date(run: Any) -> str:
    return f"{datetime.fromtimestamp(run.created.time):%Y-%m-%d %H.%M}"
