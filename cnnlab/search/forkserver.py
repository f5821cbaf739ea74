"""The server that worker processes are forked from: it has imported PyTorch once and touched no device.

This module imports nothing heavy, so that the server can be started first and do its own imports meanwhile.
"""

import multiprocessing
import multiprocessing.forkserver


def start() -> None:
    """Start it unless it runs; do nothing on a system that has none."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        multiprocessing.get_context("forkserver").set_forkserver_preload(["cnnlab.search.trials.workers"])
        multiprocessing.forkserver.ensure_running()
