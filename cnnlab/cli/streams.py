"""stdin, stdout and stderr, which may be closed, full, or without a reader; and single lines on stderr."""

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import TextIOWrapper
from typing import Any, TextIO, cast

import click

from cnnlab.errors import LONGEST_LINE, one_line, shortened, without_passwords
from cnnlab.files import naming


def open_streams() -> None:
    """Replace them by streams that any code can write to without a check.

    A stream that is closed becomes /dev/null. A stdout whose reader has gone accepts all text.
    stderr ignores each error, because progress may never end a run.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # in this order each gets its number, which a journal could get otherwise
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the name of a file need not be text
    sys.stdout = cast(TextIO, _Forgiving(sys.stdout, BrokenPipeError))
    sys.stderr = cast(TextIO, _Forgiving(sys.stderr, OSError, ValueError))


class _Forgiving:
    """A stream that drops what it cannot write."""

    def __init__(self, stream: TextIO, *forgiven: type[Exception]) -> None:
        self._stream = stream
        self._forgiven = forgiven
        self._name = str(getattr(stream, "name", "output")).strip("<>")

    def write(self, text: str) -> int:
        self._forgive(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._forgive(self._stream.flush)

    def _forgive(self, act: Callable[..., object], *words: str) -> None:
        try:
            with naming(self._name):
                act(*words)
        except self._forgiven as error:
            if isinstance(error, BrokenPipeError):  # flushing the buffer would fail again when the process ends
                with suppress(OSError), open(os.devnull, "w") as null:
                    os.dup2(null.fileno(), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def complain(message: str) -> None:
    """Print one line on stderr."""
    click.echo(shortened(f"cnnlab: {one_line(message)}", LONGEST_LINE), err=True)


def typed(words: Sequence[str]) -> str:
    """The command with these words after `cnnlab`, to be typed again; passwords are left out."""
    return shlex.join(["cnnlab", *map(without_passwords, words)])
