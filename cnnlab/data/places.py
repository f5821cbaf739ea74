"""Where data lie."""

import os
from pathlib import Path

from cnnlab.errors import BadInput


def default_root() -> Path:
    """$CNNLAB_DATA, or ~/.cache/cnnlab. Raises BadInput where no home directory is known."""
    return _at_home(os.environ.get("CNNLAB_DATA") or "~/.cache/cnnlab", "CNNLAB_DATA")


def data_root(text: str) -> Path:
    """The folder that data.root means, be it there or not. Raises BadInput where it cannot be."""
    path = _at_home(text, "data.root")
    try:
        path.stat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:  # too long a name, a folder that may not be looked into, a zero byte
        raise BadInput(f"data.root: {text} cannot be opened ({getattr(error, 'strerror', error)})") from None
    return path


def _at_home(text: str, name: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise BadInput(f"{name}: the home directory in {text} is not known; give a whole path") from None
