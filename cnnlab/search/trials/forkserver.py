"""The server that worker processes are forked from: it has imported PyTorch once and touched no device.

Importing this imports nothing heavy, so that the server can be started first and do its imports meanwhile.
"""

import multiprocessing
import multiprocessing.forkserver
from multiprocessing.context import ForkServerContext


def start() -> None:
    """Start it, unless it runs; where a system has none, do nothing."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        context()
        multiprocessing.forkserver.ensure_running()


def context() -> ForkServerContext:
    """What its processes are made with."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["cnnlab.search.trials.workers"])
    return found
