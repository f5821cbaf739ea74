"""Many workers on one study in a real MariaDB, as MySQL is reached. Needs Debian's mariadb-server."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import place

SERVER, INSTALL = shutil.which("mariadbd"), shutil.which("mariadb-install-db")
pytestmark = pytest.mark.skipif(not (SERVER and INSTALL), reason="needs MariaDB: apt-get install mariadb-server")


@pytest.fixture
def server() -> Iterator[str]:
    """The URL of a database of a server of its own, on a free port."""
    pytest.importorskip("pymysql")
    folder, port, run = place("mariadb", "mysql")
    statements = folder / "init.sql"
    statements.write_text(
        "create database lab;\ncreate user 'cnnlab'@'127.0.0.1' identified by 'hush';\n"
        "grant all on lab.* to 'cnnlab'@'127.0.0.1';\n"
    )
    data = f"--datadir={folder / 'data'}"
    subprocess.run([INSTALL, "--no-defaults", data], check=True, **run)
    words = [data, f"--port={port}", "--bind-address=127.0.0.1", f"--socket={folder / 'socket'}"]
    words += [
        f"--pid-file={folder / 'pid'}",
        "--skip-name-resolve",
        f"--init-file={statements}",
        "--max-connections=300",
    ]
    process = subprocess.Popen([SERVER, "--no-defaults", *words], **run)
    try:
        _wait_for(port)
        yield f"mysql://cnnlab:hush@127.0.0.1:{port}/lab"
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    pytest.fail("MariaDB did not answer within a minute")


@pytest.mark.long
def test_of_64_workers_trials_none_is_lost_or_doubled(server: str) -> None:
    """With MySQL's own isolation, whoever waited for a lock would add what its holder had added."""
    script = Path(__file__).parents[1] / "benchmarks" / "coordination.py"
    crowd = ["--few", "0", "--workers", "64", "--seconds", "0.1", "--reports", "1"]
    words = [*crowd, "--many", "128", "--storage", server]
    done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True, timeout=240)
    assert "128 complete, 128 in the study" in done.stdout, done.stderr[-2000:]
