"""What a database server of a test's own needs: a folder, a free port, a user that is not root."""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any


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
