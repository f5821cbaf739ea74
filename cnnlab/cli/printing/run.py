"""What a run came to: as the JSON object that scripts read, and as a panel for people."""

import json
from pathlib import Path
from typing import Any

import click

from cnnlab.records import Epoch, RunEnded, RunStarted
from cnnlab.tracking import RunDir, last, mlflow_run_id, read


def result_of(run: RunDir) -> dict[str, Any]:
    """The object that `train --json` prints; what is not known yet is None.

    Losses are mean nats a sample, accuracies fractions in [0, 1]. Beside the keys that scripts rely on there is
    `reason`, a sentence where the status is not "finished".
    """
    records = read(run.journal_file)[0]
    started, epoch, ended = last(records, RunStarted), last(records, Epoch), last(records, RunEnded)
    config = run.created.config
    return {
        "run_id": run.run_id,
        "mlflow_run_id": mlflow_run_id(run),
        "status": ended.status if ended else "running",
        "dataset": config["data"]["dataset"],
        "model": config["model"]["name"],
        "optimizer": config["optimizer"]["name"],
        "parameters": started and started.parameters,
        "epochs": epoch.epoch if epoch else 0,
        "steps": ended.step if ended else epoch and epoch.step,
        "best_epoch": ended and ended.best_epoch,
        "train_loss": epoch and epoch.train_loss,
        "val_loss": epoch and epoch.val_loss,
        "val_accuracy": epoch and epoch.val_accuracy,
        "best_val_accuracy": ended and ended.best_val_accuracy,
        "test_loss": ended and ended.test_loss,
        "test_accuracy": ended and ended.test_accuracy,
        "fit_seconds": ended and ended.fit_seconds,
        "images_per_second": ended and ended.images_per_second,
        "device": started and started.device,
        "precision": started and started.precision,
        "seed": config["training"]["seed"],
        "weights_sha256": ended and ended.weights_sha256,
        "run_dir": str(run.path),
        "reason": ended.reason if ended else "",
    }


def print_result(result: dict[str, Any], *, as_json: bool) -> None:
    """On stdout."""
    if as_json:
        click.echo(json.dumps(result))
    else:
        _print_panel(result)


def _print_panel(result: dict[str, Any]) -> None:
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    from cnnlab.cli.printing.console import result_console

    lines = Table.grid(padding=(0, 2))
    lines.add_column(style="bold")
    lines.add_column(overflow="fold")
    for name, value in _lines(result):
        lines.add_row(name, value)
    title = Text(f"{result['run_id']}: {result['status']}")
    result_console().print(Panel(lines, title=title, expand=False))


def _lines(result: dict[str, Any]) -> list[tuple[str, str]]:
    lines = []
    if result["test_accuracy"] is not None:
        lines.append(("test accuracy", f"{result['test_accuracy']:.4f}  (loss {result['test_loss']:.4f})"))
    if result["best_epoch"]:
        best = f"{result['best_epoch']} of {result['epochs']}, validation accuracy {result['best_val_accuracy']:.4f}"
        lines.append(("best epoch", best))
    if result["fit_seconds"]:
        speed = f"{result['images_per_second']:,.0f} images/s on {result['device']} in {result['precision']}"
        lines.append(("time", f"{result['fit_seconds']:.1f} s, {speed}"))
    lines += [("files", _from_here(result["run_dir"])), ("next", _next_command(result))]
    return lines


def _from_here(path: str) -> str:
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _next_command(result: dict[str, Any]) -> str:
    run = _from_here(RunDir(Path(result["run_dir"])).word)
    if result["status"] == "finished":
        return "cnnlab ui" if result["mlflow_run_id"] else f"cnnlab sync {run}"
    return f"cnnlab show {run}" if result["status"] == "failed" else f"cnnlab train --resume {run}"
