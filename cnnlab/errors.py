"""What can go wrong, one class for each exit code. The message is one line: what, what is allowed, what to do."""

import re


class CnnlabError(Exception):
    """Base of the errors that the command line shows as one line, without a traceback."""

    exit_code = 1


class RunFailed(CnnlabError):
    """The run itself failed: it diverged, ran out of memory, or met broken data."""


class BadInput(CnnlabError):
    """A setting, a file or an argument is wrong; raised before anything is written."""

    exit_code = 2


class InUse(CnnlabError):
    """A live process holds the run directory."""

    exit_code = 3


class Interrupted(CnnlabError):
    """A signal, the `number`, ended the command before a run had begun; a run seals a checkpoint first."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


def without_passwords(text: str) -> str:
    """What is said to people, with the passwords that are part of URLs left out."""
    return re.sub(r"(://[^:/@\s]*:)[^@\s]*@", r"\1***@", text)
