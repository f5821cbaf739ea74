"""Options that commands share. A setting's help, default and allowed values come from its field in the config."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from click.shell_completion import CompletionItem
from pydantic.fields import FieldInfo

from cnnlab.cli.messages import complain
from cnnlab.config import RunConfig, collected, parse_value, read_config
from cnnlab.config.messages import check_name
from cnnlab.config.run_config import FLAGS, REGISTRIES, classes_of
from cnnlab.config.section import NameIn, Section
from cnnlab.errors import BadInput, quoted, shortened
from cnnlab.search.plan import Sampler

F = TypeVar("F", bound=Callable[..., Any])


MOST_IN_COLUMN = 40
"""Characters of an option's choices; more are listed in its help."""

HELP = {
    "Data": ("data.",),
    "Model": ("model.",),
    "Training": ("optimizer.", "schedule.", "training.", "place.", "assignments"),
    "Recording": ("experiment_name", "tracking_uri", "run_dir", "study", "storage", "resume", "extend"),
    "Output": ("dry_run", "as_json", "quiet"),
}
"""Section of the help -> its options, or how the settings begin that its options set."""


class Command(click.Command):
    """A command whose help lists its options by section, those that only it has first."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = (self.name or "").capitalize()
        sections: dict[str, list[tuple[str, str]]] = {own: [], **{section: [] for section in HELP}}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (row := param.get_help_record(ctx)):
                what = FLAGS.get(param.name or "", param.name or "")
                section = next((section for section, names in HELP.items() if what.startswith(names)), own)
                sections["Output" if param.is_eager else section].append(row)  # --help is eager
        for section, rows in sections.items():
            if rows:
                with formatter.section(section):
                    formatter.write_dl(rows)


def setting_options(command: F) -> F:
    """One option for each of FLAGS, and -s/--set for every other setting."""
    command = click.option(
        "-s",
        "--set",
        "assignments",
        multiple=True,
        metavar="PATH=VALUE",
        help="Any other setting: -s model.channels=[32,64]",
    )(command)
    for flag, path in reversed(FLAGS.items()):
        command = _setting_option(flag, path)(command)
    return command


def settings_of(flags: dict[str, str | None], assignments: tuple[str, ...]) -> dict[str, Any]:
    """What was given on the command line, as dotted path -> value.

    Raises:
        BadInput: something is no assignment, or a setting is given twice.
    """
    given = [
        (FLAGS[flag], _value(FLAGS[flag], text), f"--{flag.replace('_', '-')} {text}")
        for flag, text in flags.items()
        if text is not None
    ]
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        path, how = path.strip(), shortened(assignment)
        if not (path and equals):
            raise BadInput(f"--set {how}: an assignment has the form PATH=VALUE, as in model.channels=[32,64]")
        if not all(path.split(".")):
            raise BadInput(f"--set {how}: {shortened(path)} is no path; it is made of names with a dot between two")
        given.append((path, _value(path, text), f"-s {how}"))
    return collected(given)


def taken_flags(options: dict[str, Any]) -> dict[str, str | None]:
    """Take the flags of settings out of all that Click has read."""
    return {flag: options.pop(flag) for flag in FLAGS}


def read_experiment(experiment: Path | None, settings: dict[str, Any]) -> RunConfig:
    """The config of a file, or of a folder of images, with `settings` over it; what is left out is said on stderr.

    Raises:
        BadInput: naming the field, the value and what is allowed.
    """
    config, notes = read_config(experiment, settings)
    for note in notes:
        complain(note)
    return config


def place_options(command: F) -> F:
    """Where a run is kept and delivered."""
    for option in reversed(
        [
            experiment_name_option,
            tracking_uri_option,
            click.option(
                "--run-dir",
                type=click.Path(),
                callback=folder,
                help="Put the run's files here. [default: mlruns/runs/RUN_ID]",
            ),
        ]
    ):
        command = option(command)
    return command


def folder(ctx: click.Context, param: click.Parameter, value: str | None) -> Path | None:
    """An option's folder. Raises BadInput for an empty name, which Python would take for the present folder."""
    if value == "":
        raise BadInput(f"{param.opts[0]}: '' is not allowed; it must be the name of a folder")
    return None if value is None else Path(value)


def output_options(command: F) -> F:
    """--json and --quiet."""
    command = click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")(command)
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, and nothing else.")(
        command
    )


experiment_name_option = click.option(
    "--experiment-name",
    metavar="NAME",
    help="MLflow's experiment. [default: $MLFLOW_EXPERIMENT_NAME or cnnlab]",
)
tracking_uri_option = click.option(
    "--tracking-uri",
    metavar="URI",
    help="MLflow's, or none to deliver nothing until a sync. [default: $MLFLOW_TRACKING_URI or mlruns/mlflow.db]",
)
store_option = click.option(
    "--tracking-uri", metavar="URI", help="MLflow's store. [default: $MLFLOW_TRACKING_URI or mlruns/mlflow.db]"
)


class Workers(click.ParamType[int | None]):
    """A number, or auto."""

    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value is None or value == "auto":
            return None
        try:
            number = int(value)
        except ValueError:
            number = 0
        if not 1 <= number <= 1024:
            self.fail(f"{quoted(value)} is neither a number from 1 to 1024 nor auto", param, ctx)
        return number


def _study(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """The name of a study, which is the name of a folder too."""
    if value is not None:
        check_name(value, f"--study {value!r}")
    return value


def sampler_option(default: Sampler | None, shown: str) -> Callable[[F], F]:
    """--sampler."""
    return click.option(
        "--sampler",
        type=click.Choice(get_args(Sampler), case_sensitive=False),
        default=default,
        help=f"Draws the trials. [default: {shown}]",
    )


workers_option = click.option(
    "--workers", type=Workers(), default="auto", show_default=True, help="Processes that train."
)
study_option = click.option(
    "--study",
    metavar="NAME",
    callback=_study,
    help="Join or go on with this study. [default: made from the experiment]",
)
storage_option = click.option(
    "--storage", metavar="URL", help="A database that machines share, or a file. [default: mlruns/studies/STUDY]"
)


def _setting_option(flag: str, path: str) -> Callable[[F], F]:
    section, key = path.split(".")
    field = _field(section, key)
    choices = _choices(section, key, field)
    joined = "|".join(choices)

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(choice) for choice in choices if choice.startswith(incomplete)]

    return click.option(
        f"--{flag.replace('_', '-')}",
        flag,
        metavar=joined if 0 < len(joined) < MOST_IN_COLUMN else "NAME" if choices else "VALUE",
        help=_help(field, path, choices if len(joined) >= MOST_IN_COLUMN else []),
        shell_complete=complete,
    )


def _field(section: str, key: str) -> FieldInfo:
    """The setting's field, of the first kind of the section that has it."""
    default = getattr(RunConfig(), section)
    kinds: list[type[Section]] = [type(default), *classes_of(section)]
    return next(kind.model_fields[key] for kind in kinds if key in kind.model_fields)


def _choices(section: str, key: str, field: FieldInfo) -> list[str]:
    if key == "name":
        return list(REGISTRIES[section])
    named = [name for mark in field.metadata if isinstance(mark, NameIn) for name in mark.names]
    if named:
        return named
    return list(get_args(field.annotation)) if get_origin(field.annotation) is Literal else []


def _help(field: FieldInfo, path: str, listed: list[str]) -> str:
    text = (field.description or f"{path.split('.')[0]}, by name").strip()
    text = text[0].upper() + text[1:]
    if listed:
        text += f": {', '.join(listed)}"
    if "[default:" in text or field.default is None:
        return text
    return f"{text}. [default: {field.default}]"


def _value(path: str, text: str) -> Any:
    if path in ("name", "data.root"):  # they are text, whatever they look like
        return text
    try:
        return parse_value(text)
    except BadInput as error:
        raise BadInput(f"{path}: {quoted(text)} is not a value: {error}") from None
