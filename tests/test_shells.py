"""Completion on a terminal: Tab in a real zsh and a real fish."""

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import Result

Cli = Callable[..., Result]
SECONDS = 60.0
CONTROL = re.compile(r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[\[(][0-9;?>=]*[a-zA-Z]|\x1b[=>]|[\r\x07\x08]")


class Terminal:
    """A shell on a pseudo-terminal."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor, self.shown = descriptor, ""

    def type(self, keys: str) -> None:
        os.write(self.descriptor, keys.encode())

    def wait_for(self, pattern: str) -> str:
        """What is shown up to the pattern, which is then forgotten."""
        end = time.monotonic() + SECONDS
        while not (found := re.search(pattern, CONTROL.sub("", self.shown))):
            assert time.monotonic() < end, f"{pattern} is not in {self.shown!r}"
            if select.select([self.descriptor], [], [], 0.1)[0]:
                some = os.read(self.descriptor, 65536).decode(errors="replace")
                if re.search("\x1b\\[0?c", some):  # fish asks which terminal this is
                    self.type("\x1b[?62;c")
                self.shown += some
        self.shown = ""
        return found[0]


@contextmanager
def terminal(shell: str, home: Path) -> Iterator[Terminal]:
    program = home / "bin" / "cnnlab"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m cnnlab "$@"\n')
    program.chmod(0o755)
    paths = {"PATH": f"{home}/bin:{os.environ['PATH']}", "PYTHONPATH": str(Path(__file__).parents[1])}
    environment = {**os.environ, **paths, "HOME": str(home), "TERM": "xterm", "COLUMNS": "100"}
    descriptor, inside = pty.openpty()
    tty = {"stdin": inside, "stdout": inside, "stderr": inside}
    process = subprocess.Popen(["setsid", "--ctty", shell, "-i"], env=environment, **tty)
    os.close(inside)
    try:
        opened = Terminal(descriptor)
        opened.type("echo rea''dy\r")
        opened.wait_for(r"\nready")
        yield opened
    finally:
        process.kill()
        process.wait()
        os.close(descriptor)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_tab_completes(shell: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not shutil.which(shell) or not shutil.which("setsid"):
        pytest.skip(f"{shell} is not installed: apt-get install {shell}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert cli("--install-completion", shell).exit_code == 0
    small = ("-q", "--epochs", "1", "-s", "data.train_size=32", "--tracking-uri", "none")
    ids = [json.loads(cli("train", *small, "--json").stdout)["run_id"] for _ in range(2)]
    Path("pictures").mkdir()
    with terminal(shell, tmp_path) as opened:

        def line_after(keys: str) -> str:
            opened.type(f"{keys}\x01echo LINE=\r")
            return opened.wait_for(r"\nLINE=[^\n]*\n").strip().rstrip("/")  # zsh takes a last / back

        assert line_after("cnnlab tra\t") == "LINE=cnnlab train"
        assert line_after("cnnlab train -s model.act\tre\t") == "LINE=cnnlab train -s model.activation=relu"
        assert line_after("cnnlab train --optimizer adamw\t") == "LINE=cnnlab train --optimizer adamw"
        assert line_after(f"cnnlab predict {ids[0][:-1]}\t pict\t") == f"LINE=cnnlab predict {ids[0]} pictures"
        assert line_after("cnnlab evaluate last --data-root pict\t") == "LINE=cnnlab evaluate last --data-root pictures"
        opened.type(f"cnnlab export {ids[0][:8]}\t\t")
        opened.wait_for(r"20\d\d-\d\d-\d\d \d\d\.\d\d, acc 0\.\d{4}")
