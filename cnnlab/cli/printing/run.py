"""What a run came to, for scripts and for people."""

import json
from pathlib import Path
from typing import Any

import click

from cnnlab.metrics import words_of
from cnnlab.tracking import RunDir


def print_result(result: dict[str, Any], *, as_json: bool, on_its_way: bool = False) -> None:
    """On stdout.

    Args:
        on_its_way: whether it is being delivered to MLflow, which may not have it yet.
    """
    if as_json:
        click.echo(json.dumps(result))
    else:
        _print_panel(result, on_its_way)


def _print_panel(result: dict[str, Any], on_its_way: bool) -> None:
    from rich.panel import Panel
    from rich.text import Text

    from cnnlab.cli.printing.tables import facts_table, result_console

    lines = facts_table()
    for name, value in _lines(result):
        lines.add_row(name, value)
    lines.add_row("next", _next_command(result, on_its_way))
    title = Text(f"{result['run_id']}: {result['status']}")
    result_console().print(Panel(lines, title=title, expand=False))


def _lines(result: dict[str, Any]) -> list[tuple[str, str]]:
    lines = []
    score, metrics = result["score"], result["metrics"]
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
    lines += [("warning", warning) for warning in result["warnings"]]
    lines.append(("files", _from_here(result["run_dir"])))
    return lines


def _from_here(path: str) -> str:
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _next_command(result: dict[str, Any], on_its_way: bool) -> str:
    run = _from_here(RunDir(Path(result["run_dir"])).word)
    if result["status"] == "finished":
        return "cnnlab ui" if result["mlflow_run_id"] or on_its_way else f"cnnlab sync {run}"
    return f"cnnlab show {run}" if result["status"] == "failed" else f"cnnlab train --resume {run}"
