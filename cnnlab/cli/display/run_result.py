"""The result of a run, for scripts and for people."""

from pathlib import Path
from typing import Any

import click

from cnnlab.errors import without_passwords
from cnnlab.metrics import words_of
from cnnlab.result import strict_json
from cnnlab.tracking import RunDir, run_page


def print_result(result: dict[str, Any], *, as_json: bool, store: str = "none") -> None:
    """On stdout.

    Args:
        store: the MLflow store that gets it, perhaps later.
    """
    if as_json:
        click.echo(strict_json(result))
    else:
        _print_panel(result, store)


def print_page(run: RunDir) -> None:
    """If a server has all of the run, its page there: a line of its own, so that it can be copied."""
    if page := run_page(run):
        click.echo(without_passwords(page))


def _print_panel(result: dict[str, Any], store: str) -> None:
    from rich.panel import Panel
    from rich.text import Text

    from cnnlab.cli.display.tables import facts_table, result_console

    lines = facts_table()
    for name, value in _lines(result):
        lines.add_row(name, value)
    if result["reason"]:  # which says what to do too
        lines.add_row("reason", result["reason"])
    elif command := _next_command(result, store):
        lines.add_row("next", command)
    title = Text(f"{result['run_id']}: {result['status']}")
    result_console().print(Panel(lines, title=title, expand=False))


def _lines(result: dict[str, Any]) -> list[tuple[str, str]]:
    score, metrics = result["score"], result["metrics"]
    lines = []
    name = words_of(score["name"])
    if score["value"] is not None:
        loss = "" if score["name"] == "loss" else f"  (loss {metrics['test']['loss']:.4f})"
        lines.append((f"test {name}", f"{score['value']:.4f}{loss}"))
    if result["best_epoch"]:
        best = f"{result['best_epoch']} of {result['epochs']}, validation {name} {metrics['val'][score['name']]:.4f}"
        lines.append(("best epoch", best))
    if result["fit_seconds"]:
        speed = f"{result['images_per_second']:,.0f} images/s on {result['device']} in {result['precision']}"
        lines.append(("time", f"{result['fit_seconds']:.1f} s, {speed}"))
    if skipped := result["skipped_images"]:
        lines.append(("skipped", f"{skipped} image{'s' if skipped > 1 else ''} that cannot be read"))
    lines += [("warning", warning) for warning in result["warnings"]]
    lines.append(("files", _from_here(result["run_dir"])))
    return lines


def _from_here(path: str) -> str:
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _next_command(result: dict[str, Any], store: str) -> str:
    """Empty if a server has a page for the run."""
    run = RunDir(Path(result["run_dir"]))
    word = _from_here(run.word)
    if result["status"] != "finished":
        return f"cnnlab train --resume {word}"
    if store.startswith("http") or run_page(run):
        return ""
    return "cnnlab ui" if store != "none" or result["mlflow_run_id"] else f"cnnlab sync {word}"
