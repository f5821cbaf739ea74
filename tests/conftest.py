"""What tests share: each works in a folder of its own, with a cache of its own, far from the user's."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
from click.testing import CliRunner, Result

# a machine under load makes no test fail
hypothesis.settings.register_profile("cnnlab", deadline=None)
hypothesis.settings.load_profile("cnnlab")

# one thread a process, before torch is imported: test processes run side by side
os.environ["OMP_NUM_THREADS"] = "1"

# nohup, and a shell's &, let signals be ignored; the commands that tests start would inherit that, but no handler
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, lambda *_: None)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests wait for processes and disks (710 s instead of 947 s on 2 cores)."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CNNLAB_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)


@pytest.fixture
def cli() -> Callable[..., Result]:
    """`cli("train", "--epochs", "1")` through Click's runner, with the exit code that the process would have."""
    from cnnlab.cli import main

    def run(*args: str) -> Result:
        import click

        @click.command(
            context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
        )
        def entry() -> None:
            main(list(args))

        return CliRunner().invoke(entry, [])

    return run


@pytest.fixture
def one_plot(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report of a sweep has one plot instead of six: drawing them takes longer than 30 small trials."""
    from cnnlab.search import sweep_report

    monkeypatch.setattr(sweep_report, "PLOTS", {"history": sweep_report.PLOTS["history"]})


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """`process("train", "--json")` as a real process in the test's folder."""

    def run(*args: str, timeout: float = 120) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "cnnlab", *args],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=tmp_path,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    return run
