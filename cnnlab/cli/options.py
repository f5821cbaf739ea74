"""Options that commands share. Their help, form and default come from fields of `cnnlab/config/`."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem
from pydantic.fields import FieldInfo

from cnnlab.cli.completion import complete_setting, complete_study
from cnnlab.cli.streams import complain
from cnnlab.config import RunConfig, collected, parse_yaml, read_config
from cnnlab.config.commands import RecordOptions
from cnnlab.config.run_config import FLAGS, REGISTRIES, fields_of, names_of, types_of
from cnnlab.errors import BadInput, quoted, shortened

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
"""Section of the help -> its options, or the first parts of the settings that its options set."""


class Command(click.Command):
    """A command whose help lists its options by section. The first section has the options of this command alone."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        only_here = (self.name or "").capitalize()
        sections: dict[str, list[tuple[str, str]]] = {only_here: [], **{section: [] for section in HELP}}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (row := param.get_help_record(ctx)):
                what = FLAGS.get(param.name or "", param.name or "")
                section = next((section for section, names in HELP.items() if what.startswith(names)), only_here)
                sections["Output" if param.is_eager else section].append(row)  # --help is eager
        for section, rows in sections.items():
            if rows:
                with formatter.section(section):
                    formatter.write_dl(rows)


def setting_options(command: F) -> F:
    """One option for each of FLAGS, and -s/--set for every other setting."""
    command = _set_option("Any other setting: -s model.channels=[32,64]")(command)
    for flag, path in reversed(FLAGS.items()):
        section, _, key = path.partition(".")
        field = fields_of(path)[0]
        names = list(REGISTRIES[section]) if key == "name" else names_of(field)
        command = _option(flag, field, names, f"{section.capitalize()}, by name")(command)
    return command


def dataset_options(command: F) -> F:
    """--dataset, --data-root and -s of a command that measures a run's network."""
    command = _set_option("Any other setting of its data: -s data.resize=40")(command)
    command = click.option("--data-root", type=click.Path(), help="Its folder, or the images themselves.")(command)
    return click.option("--dataset", help="The images of this dataset. [default: the run's]")(command)


def dataset_settings(dataset: str | None, data_root: str | None, assignments: tuple[str, ...]) -> dict[str, Any]:
    """What `dataset_options` got, as dotted path -> value. Raises BadInput for a setting that is not of data."""
    flags = {"data.dataset": dataset, "data.root": data_root}
    settings = collected(
        [(path, word, word) for path, word in flags.items() if word is not None] + _assigned(assignments)
    )
    if strange := next((path for path in settings if not path.startswith("data.")), None):
        raise BadInput(f"--set {strange}: is not allowed here; it must be a setting of data, as in data.resize=40")
    return settings


def _set_option(text: str) -> Callable[[F], F]:
    return click.option(
        "-s",
        "--set",
        "assignments",
        multiple=True,
        metavar="PATH=VALUE",
        shell_complete=complete_setting,
        help=text,
    )


def command_options(kind: type[RecordOptions]) -> Callable[[F], F]:
    """One option for each field of a command's options."""

    def add(command: F) -> F:
        for name, field in reversed(kind.model_fields.items()):
            command = _option(name, field, names_of(field))(command)
        return command

    return add


def _option(name: str, field: FieldInfo, names: list[str], description: str = "") -> Callable[[F], F]:
    flag, text, types = f"--{name.replace('_', '-')}", field.description or description, types_of(field)
    text = text[0].upper() + text[1:]
    if bool in types:
        return click.option(flag, name, is_flag=True, help=text)
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    numbers = [word for word, kind in (("N", int), ("X", float)) if kind in types]
    form = str(extra.get("form", "")) or "|".join([*numbers, *names])
    if len(form) >= MOST_IN_COLUMN:
        form, text = "NAME", f"{text.rstrip('.')}: {', '.join(names)}"
    if "[default:" not in text and field.default is not None:
        text = f"{text.rstrip('.')}. [default: {field.default}]"

    if name in ("study", "extend"):
        return click.option(flag, name, metavar=form, help=text, shell_complete=complete_study)

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        if name in ("data_root", "run_dir"):
            return [CompletionItem(incomplete, type="file")]  # the shell completes it
        return [CompletionItem(known) for known in names if known.startswith(incomplete)]

    return click.option(flag, name, metavar=form or "VALUE", help=text, shell_complete=complete)


def settings_of(options: dict[str, Any], assignments: tuple[str, ...]) -> dict[str, Any]:
    """The settings that were given on the command line, as dotted path -> value; flags are taken out of `options`.

    Raises:
        BadInput: an assignment has no such form, or a setting is given twice.
    """
    flags = {flag: options.pop(flag) for flag in FLAGS}
    given = [
        (FLAGS[flag], _value(FLAGS[flag], text), f"--{flag.replace('_', '-')} {text}")
        for flag, text in flags.items()
        if text is not None
    ]
    return collected([*given, *_assigned(assignments)])


def _assigned(assignments: tuple[str, ...]) -> list[tuple[str, Any, str]]:
    """Of each PATH=VALUE the path, the value and the words."""
    given = []
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        path, how = path.strip(), shortened(assignment)
        if not (path and equals):
            raise BadInput(f"--set {how}: an assignment has the form PATH=VALUE, as in model.channels=[32,64]")
        if not all(path.split(".")):
            raise BadInput(
                f"--set {how}: {shortened(path)} is not a setting; write its section, a dot and its name, as in "
                "model.channels=[32,64]"
            )
        given.append((path, _value(path, text), f"-s {how}"))
    return given


def options_of(kind: type[RecordOptions], options: dict[str, Any]) -> dict[str, Any]:
    """The options of `kind` that were given on the command line, as values; they are taken out of `options`."""
    given = {name: (field, options.pop(name)) for name, field in kind.model_fields.items()}
    return {
        name: _number(name, text) if types_of(field) & {int, float} else text
        for name, (field, text) in given.items()
        if text is not None
    }


def read_experiment(experiment: Path | None, settings: dict[str, Any]) -> RunConfig:
    """The config of a file, or of a folder of images, with `settings` over it; stderr names each setting left out.

    Raises:
        BadInput: naming the field, the value and what is allowed.
    """
    config, notes = read_config(experiment, settings)
    for note in notes:
        complain(note)
    return config


def folder(ctx: click.Context, param: click.Parameter, value: str | None) -> Path | None:
    """An option's folder. Raises BadInput for a file, and for '', which Python would take for the present folder."""
    if value == "" or (value and os.path.isfile(value)):
        raise BadInput(f"{param.opts[-1]}: {quoted(value)} is not allowed; it must be the name of a folder")
    return None if value is None else Path(value)


def new_file(ctx: click.Context, param: click.Parameter, value: str | None) -> Path | None:
    """An option's file, which is made or replaced. Raises BadInput if it cannot be one in a folder that exists."""
    if value == "" or (value and (os.path.isdir(value) or not os.path.isdir(os.path.dirname(value) or "."))):
        raise BadInput(
            f"{param.opts[-1]}: {quoted(value)} is not allowed; it must be the name of a file in a folder that exists"
        )
    return None if value is None else Path(value)


def output_options(command: F) -> F:
    """--json and --quiet."""
    quiet = click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
    json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, and nothing else.")
    return json(quiet(command))


experiment_argument = click.argument("experiment", required=False, type=click.Path(path_type=Path))
device_option = click.option(
    "--device",
    default="auto",
    metavar="auto|cpu|cuda|mps",
    callback=lambda ctx, param, text: read_config(None, {"place.device": text})[0].place.device,
    help="Compute here. [default: auto]",
)
store_option = click.option(
    "--tracking-uri", metavar="URI", help="MLflow's store. [default: $MLFLOW_TRACKING_URI or mlruns/mlflow.db]"
)


def _value(path: str, text: str) -> Any:
    if path == "name" or (path in ("data.root", "model.weights") and text != "null"):
        return text  # even if it looks like a number
    try:
        return parse_yaml(text)
    except BadInput as error:
        raise BadInput(f"{path}: {quoted(text)} is not a value: {error}") from None


def _number(name: str, text: str) -> Any:
    """The number that a text is; else the text itself, so that '' or null is refused and does not mean the default."""
    value = _value(name, text)
    return value if isinstance(value, int | float) else text
