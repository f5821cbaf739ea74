"""`cnnlab ui`"""

import os
import sys

import click

from cnnlab.cli.options import store_option
from cnnlab.errors import BadInput, RunFailed, without_passwords
from cnnlab.process import FOLDER_WITHOUT_MODULES


@click.command("ui")
@store_option
@click.option("--port", default=5000, show_default=True, type=click.IntRange(1, 65535), help="On 127.0.0.1.")
def command(tracking_uri: str | None, port: int) -> None:
    """Serves on 127.0.0.1 until Ctrl-C, and prints the address of the experiment that has the newest run: its
    runs with score, learning rate, batch size, optimizer, status and time.

    \b
    Example: cnnlab ui --port 5001
    """
    from cnnlab.tracking import QUIET, VIEW, open_store, open_view, page_of, resolve, store_answers

    uri = resolve(tracking_uri, needed=True)
    if uri.startswith(("http://", "https://")):
        raise BadInput(f"{uri}: this store has a UI of its own; open it in a browser: {page_of(uri)}")
    open_store(uri)
    if error := store_answers(uri):
        raise RunFailed(f"{uri}: {error}")
    experiment = open_view(uri)
    page = page_of(f"http://127.0.0.1:{port}", f"/{experiment}/runs" if experiment else "")
    page += f"&viewStateShareKey={VIEW}" if experiment else ""
    click.echo(f"MLflow's UI on {without_passwords(uri)}, in some seconds (Ctrl-C ends it): {page}", err=True)
    command = [sys.executable, "-m", "mlflow", "ui", "--workers", "1"]
    environment = {**QUIET, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ}
    environment["MLFLOW_BACKEND_STORE_URI"] = uri  # not as an option: every user sees those of every process
    artifacts = os.path.abspath("mlartifacts")  # MLflow's default, for programs that log through this server
    os.chdir(FOLDER_WITHOUT_MODULES)  # MLflow and its server look for modules in the current folder first
    command += ["--host", "127.0.0.1", "--port", str(port), "--artifacts-destination", artifacts]
    # in place of this process, not as its child: to end this process is to end the server
    os.execve(sys.executable, command, environment)
