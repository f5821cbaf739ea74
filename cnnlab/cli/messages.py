"""What a command says on stderr beside its progress."""

import shlex
from collections.abc import Sequence

import click

from cnnlab.errors import LONGEST_LINE, one_line, shortened, without_passwords


def complain(message: str) -> None:
    """One line on stderr."""
    click.echo(shortened(f"cnnlab: {one_line(message)}", LONGEST_LINE), err=True)


def typed(words: Sequence[str]) -> str:
    """A command to be typed again, from the words after `cnnlab`, without a password."""
    return shlex.join(["cnnlab", *map(without_passwords, words)])
