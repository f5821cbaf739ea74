"""The errors, one class per exit code. A message is one line: the problem, what is allowed, what to do."""

import re

HIDDEN = "***"
"""The replacement of a password."""
LONGEST_LINE = 300
"""Characters of a line on stderr."""
LONGEST_REASON = 200
"""Characters of another program's message about a fault."""
LONGEST_VALUE = 80
"""Characters of a value that a message quotes."""

_NAMES = (
    r"[\w.-]*(?:password|passwd|passphrase|pwd|token|secret|api[_-]?key|access[_-]?key|signature|credential)[\w.-]*"
    r"|pw|pass|auth|sig|(?<=[?&])key"
)
_VALUE = r"""(?:'[^']*'|"[^"]*"|(?:(?!%3B|%26)[^\s&;,'"])+)"""
_SECRETS = (
    # all that a web address has before its host: a token alone is the user's name there
    (re.compile(r"(https?://)(?=[^\s/?#]*@|[^\s/?#]*:(?!\d*(?:[/?#\s]|$)))\S*@", re.I), rf"\1{HIDDEN}@"),
    # scheme://user:password@host, with any characters in the password
    (re.compile(r"(://[^\s:/@]*:)\S*@"), rf"\1{HIDDEN}@"),
    # the same without slashes, or without a scheme
    (re.compile(r"(?<![\w@/.*-])((?:[a-z][\w+.-]*:)?[^\s:/@=]+:)(?!/)\S+@(?=\S)", re.I), rf"\1{HIDDEN}@"),
    # ?password=, token=, "password": and the same inside a value that is quoted once more, as ODBC's
    (re.compile(rf"""\b((?:{_NAMES})(?:=|%3D|['"]:\s*)){_VALUE}""", re.I), rf"\1{HIDDEN}"),
    (re.compile(r"\b(bearer\s+)[\w+/=.~-]+", re.I), rf"\1{HIDDEN}"),
)
"""Patterns of secrets, in the order in which they are replaced, and their replacements."""


class CnnlabError(Exception):
    """Base of the errors that the command line shows as one line, without a traceback; it says no passwords."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


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
    """The text with HIDDEN in place of passwords, tokens and keys, in any form of URL."""
    for secret, hidden in _SECRETS:
        text = secret.sub(hidden, text)
    return text


def one_line(text: str) -> str:
    """The text in one line, without passwords; characters that a terminal would obey are escaped."""
    return printable(without_passwords(" ".join(text.split())))


def printable(text: str) -> str:
    """The text with invisible characters, such as control characters, as escapes: an ESC is \\x1b."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()


def shortened(text: str, most: int = LONGEST_VALUE) -> str:
    """The text with its middle left out if it has more than `most` characters; a message's end says what to do.

    Passwords are removed first: from a password that is cut, its halves would be left.
    """
    half, text = (most - 5) // 2, without_passwords(text)
    return text if len(text) <= most else f"{text[: most - 5 - half]} ... {text[-half:]}"


def quoted(value: object) -> str:
    """A value as a message quotes it."""
    return shortened(repr(value))
