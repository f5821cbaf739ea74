"""Where a run comes from: commit, versions, hardware, command, as tags to filter by."""

import getpass
import os
import platform
import shlex
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path

import torch

from cnnlab import __version__
from cnnlab.errors import without_passwords


def provenance() -> dict[str, str]:
    """Tag -> value, without unknown values. The tags have MLflow's own names if there are any."""
    tags = {
        "mlflow.user": _user(),
        "mlflow.source.name": "cnnlab",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": _git_commit(),
        "command": shlex.join(map(without_passwords, [_program(), *sys.argv[1:]])),
        "host": socket.gethostname(),
        "cpu": _cpu(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "slurm_job": os.environ.get("SLURM_JOB_ID", ""),
        "version.cnnlab": __version__,
        "version.python": platform.python_version(),
        "version.torch": torch.__version__,
    }
    return {name: value for name, value in tags.items() if value}


def _program() -> str:
    """`cnnlab`, or the name of the Python script that uses it."""
    name = Path(*sys.argv[:1]).name  # a program that embeds Python may have no arguments
    return name if name.endswith(".py") and name != "__main__.py" else "cnnlab"


@cache
def _git_commit() -> str:
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without a name, as in containers
        return str(os.getuid())


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.machine()
