"""The process of a command, from its first moment to its last. `python -m cnnlab` is `cnnlab`."""

import os
import sys


def main() -> None:
    """The entry point."""
    _leave_out_the_current_folder()
    from cnnlab.process import Ending, obey_signals

    obey_signals()
    ending = Ending()
    from cnnlab.cli import run  # takes 0.2 s, in which a signal may come

    ending.code = run()


def _leave_out_the_current_folder() -> None:
    """Undo what `python -m` does: search the current folder first, where a file may have the name of a library.

    It stays if cnnlab itself is there: a checkout that is not installed.
    """
    try:
        here = os.getcwd()
    except OSError:  # it was removed
        return
    if sys.path[:1] in ([""], [here]) and here != os.path.dirname(os.path.dirname(os.path.realpath(__file__))):
        del sys.path[0]


if __name__ == "__main__":
    main()
