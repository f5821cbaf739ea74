"""The courier's own process, and the same delivery for `cnnlab sync`.

Tracking knows neither networks nor figures; here it is handed both.
"""

import json
import os
import sys
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from cnnlab.tracking import Delivery, Order, RunDir, follow_all, import_mlflow


def main() -> None:
    """Import MLflow, read from stdin which runs to follow, a line each, and follow them; end when there are no more."""
    orders: SimpleQueue[Order | None] = SimpleQueue()
    threading.Thread(target=_read_orders, args=(orders,), daemon=True).start()
    import_mlflow()
    follow_all(orders, load_model, draw)


def _read_orders(orders: "SimpleQueue[Order | None]") -> None:
    """stdin -> orders; the first run's folder takes whatever is printed."""
    told = 0
    for told, line in enumerate(sys.stdin, start=1):
        values = json.loads(line)
        run = RunDir(Path(values["run_dir"]))
        if told == 1:
            _write_to(run.courier_log)
        orders.put((run, values["uri"]))
    if told == 0:  # the command ended before its run began: nobody needs MLflow any more
        os._exit(0)
    orders.put(None)


def delivery_of(run: RunDir, uri: str) -> Delivery:
    """The delivery of one run to one store."""
    return Delivery(run, uri, load_model, draw)


def load_model(path: Path) -> Any:
    """A finished run's network."""
    from cnnlab.run import load_trained

    return load_trained(path)


def draw(path: Path, into: Path) -> list[Path]:
    """A run's figures."""
    from cnnlab import reading

    return reading.draw(path, into)


def _write_to(log: Path) -> None:
    """Whatever is printed from now on goes to this file."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)


if __name__ == "__main__":
    main()
