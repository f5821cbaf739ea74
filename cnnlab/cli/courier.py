"""The courier's own process, `python -m cnnlab.cli.courier`, and the same delivery for `cnnlab sync`.

Tracking knows neither networks nor figures; here it is handed both.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from cnnlab.tracking import Delivery, RunDir, follow, import_mlflow, lower_priority


def main() -> None:
    """Import MLflow, read from stdin which run to follow, follow it. Without an order, end."""
    lower_priority()
    import_mlflow()
    order = sys.stdin.readline()
    if not order.strip():
        return
    values = json.loads(order)
    run = RunDir(Path(values["run_dir"]))
    _write_to(run.courier_log)
    follow(run, values["uri"], load_model, draw)


def delivery_of(run: RunDir, uri: str) -> Delivery:
    """The delivery of one run to one store."""
    return Delivery(run, uri, load_model, draw)


def load_model(path: Path) -> Any:
    """A finished run's network."""
    from cnnlab.run import load_trained

    return load_trained(path)


def draw(path: Path, into: Path) -> list[Path]:
    """A run's figures."""
    from cnnlab import analysis

    return analysis.draw(path, into)


def _write_to(log: Path) -> None:
    """Whatever is printed from now on goes to this file."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)


if __name__ == "__main__":
    main()
