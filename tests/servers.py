"""Servers of a test's own, in a folder, on a free port: databases, by a user that is not root, and MLflow's."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

POSTGRESQL = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").exists() else []
"""Where Debian's programs are; the newest version last."""


def place(name: str, user: str) -> tuple[Path, int, dict[str, Any]]:
    """A new folder, a free port, and how to run a program there: as `user` where this is root, which servers refuse."""
    folder = Path(tempfile.mkdtemp(prefix=f"cnnlab-{name}-"))
    owner = user if os.geteuid() == 0 else None
    if owner:
        shutil.chown(folder, owner)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return folder, port, {"user": owner, "cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


class PostgreSQL:
    """A server that can be stopped and started again, and asks for a password if it is given one."""

    def __init__(self, password: str | None = None) -> None:
        self.folder, port, self._run = place("postgresql", "postgres")
        self.url = f"postgresql://cnnlab@127.0.0.1:{port}/postgres"
        data, programs = self.folder / "data", POSTGRESQL[-1]
        asked = ["-A", "scram-sha-256", "--pwfile", self.folder / "password"] if password else ["-A", "trust"]
        (self.folder / "password").write_text(f"{password}\n")
        subprocess.run([programs / "initdb", "-D", data, "-U", "cnnlab", *asked, "-N"], check=True, **self._run)
        self._control = [programs / "pg_ctl", "-D", data, "-w"]
        options = "-c listen_addresses=127.0.0.1 -c max_connections=200"
        self._options = f"-p {port} {options} -c unix_socket_directories={self.folder}"

    def start(self) -> None:
        subprocess.run([*self._control, "-o", self._options, "start"], check=True, **self._run)

    def stop(self, mode: str = "immediate") -> None:
        subprocess.run([*self._control, "-m", mode, "stop"], check=True, **self._run)


@contextmanager
def postgresql(password: str | None = None) -> Iterator[PostgreSQL]:
    """A running server; at the end it and its folder are gone."""
    server = PostgreSQL(password)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.folder)


class MlflowServer:
    """A real one on SQLite, which can be killed and started again. A context manager: within it, it runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.uri, self.database = f"http://127.0.0.1:{self.port}", folder / "mlflow.db"
        stores = ["--backend-store-uri", f"sqlite:///{self.database}", "--artifacts-destination", f"{folder}/artifacts"]
        address = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        self._command = [sys.executable, "-m", "mlflow", "server", *stores, *address]

    def start(self) -> None:
        """Start it and wait until it answers: a connection alone may be one of the port with itself."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with suppress(OSError), urlopen(f"{self.uri}/health", timeout=1):
                return
            time.sleep(0.2)
        raise AssertionError((self.folder / "log").read_text())

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.killpg(self._process.pid, number)
        self._process.wait(30)

    def __enter__(self) -> "MlflowServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill(signal.SIGTERM)
