"""`cnnlab ui`"""

import os
import sys

import click

from cnnlab.cli.options import tracking_uri_option
from cnnlab.errors import BadInput
from cnnlab.process import FOLDER_WITHOUT_MODULES


@click.command("ui")
@tracking_uri_option
@click.option("--port", default=5000, show_default=True, type=click.IntRange(1, 65535), help="On 127.0.0.1.")
def command(tracking_uri: str | None, port: int) -> None:
    """Open the MLflow UI on the runs made here.

    Serves on 127.0.0.1 until Ctrl-C.

    \b
    Example: cnnlab ui --port 5001
    """
    from cnnlab.tracking import QUIET, open_store, resolve

    uri = resolve(tracking_uri)
    if uri.startswith(("http://", "https://")):
        raise BadInput(f"--tracking-uri {uri}: this store has a UI of its own; open it in a browser")
    if uri == "none":
        raise BadInput("--tracking-uri none: there is no store to show; leave it out, or name a database")
    open_store(uri)
    page = f"http://127.0.0.1:{port}/#/experiments?workflowType=machine_learning"  # else it opens on language models
    click.echo(f"MLflow's UI on {uri}, in some seconds (Ctrl-C ends it): {page}", err=True)
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--workers", "1"]
    environment = {**QUIET, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ}
    artifacts = os.path.abspath("mlartifacts")  # MLflow's own default, for whoever logs through this server
    os.chdir(FOLDER_WITHOUT_MODULES)  # MLflow and its server look for modules in the current folder first
    command += ["--host", "127.0.0.1", "--port", str(port), "--artifacts-destination", artifacts]
    # in our place, not as a child of ours: whoever ends this process ends the server
    os.execve(sys.executable, command, environment)
