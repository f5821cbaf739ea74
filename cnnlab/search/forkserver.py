"""The server that worker processes are forked from: it has imported PyTorch once and touched no device.

This module imports nothing heavy, so that the server can be started first and do its own imports meanwhile.
"""

import multiprocessing
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
from collections.abc import Iterator
from contextlib import contextmanager

from cnnlab.process import FOLDER_WITHOUT_MODULES, shorten_socket_paths, signals_held_back


def start() -> None:
    """Start it unless it runs; do nothing on a system that has none, or in a daemonic process, which has no workers."""
    if "forkserver" in multiprocessing.get_all_start_methods() and not multiprocessing.current_process().daemon:
        multiprocessing.get_context("forkserver").set_forkserver_preload(["cnnlab.search.trials.workers"])
        shorten_socket_paths()
        with _in_a_folder_without_modules():
            for server in (multiprocessing.resource_tracker, multiprocessing.forkserver):
                with signals_held_back():  # again: the first server's start lets two of them through
                    server.ensure_running()


@contextmanager
def _in_a_folder_without_modules() -> Iterator[None]:
    """Python starts the server by `-c`, which searches the current folder first, where the user's `random.py` may be.

    Its workers get the path and the current folder of this process.
    """
    here = os.getcwd()
    os.chdir(FOLDER_WITHOUT_MODULES)
    try:
        yield
    finally:
        os.chdir(here)
