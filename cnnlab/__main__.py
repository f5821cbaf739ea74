"""The entry point of `cnnlab` and of `python -m cnnlab`."""

import os
import sys


def main() -> None:
    """Run a command and end the process with its exit code."""
    _remove_current_folder()
    from cnnlab.process import Ending, obey_signals

    obey_signals()
    ending = Ending()
    from cnnlab.cli import run  # takes 0.2 s, in which a signal may come

    ending.code = run()


def _remove_current_folder() -> None:
    """Remove the current folder, which `python -m` adds to `sys.path`: a file there may have the name of a library.

    If the folder is a checkout of cnnlab, it stays: cnnlab may not be installed.
    """
    try:
        here = os.getcwd()
    except OSError:  # it was removed
        return
    if sys.path[:1] in ([""], [here]) and here != os.path.dirname(os.path.dirname(os.path.realpath(__file__))):
        del sys.path[0]


if __name__ == "__main__":
    main()
