"""`cnnlab rerun`"""

import click

from cnnlab.cli.completion import complete_run
from cnnlab.cli.options import output_options, store_option
from cnnlab.cli.streams import complain

VERSION = "version."
COMMIT = "mlflow.source.git.commit"


@click.command("rerun")
@click.argument("word", metavar="RUN", default="last", shell_complete=complete_run)
@store_option
@output_options
def command(word: str, tracking_uri: str | None, as_json: bool, quiet: bool) -> int:
    """RUN is a run id, an unambiguous beginning of one, last, or a run's directory. A new run is made. If the commit or
    a version differs from the recorded one, stderr says so, and the results may differ.

    \b
    Example: cnnlab rerun last
    """
    from cnnlab.cli.train import train_and_print
    from cnnlab.run import config_of, provenance
    from cnnlab.tracking import find_run, present_store
    from cnnlab.work import Training

    run = find_run(word)
    config, created = config_of(run), run.created
    training = Training(config, experiment_name=created.experiment, tracking_uri=tracking_uri or present_store(run))
    now = provenance()
    for tag in sorted({*created.tags, *now}):
        if tag == COMMIT or tag.startswith(VERSION):
            before, here = created.tags.get(tag, "unknown"), now.get(tag, "unknown")
            if before != here:
                name = "the commit" if tag == COMMIT else tag.removeprefix(VERSION)
                complain(f"{name} was {before} for {run.run_id} and is {here} now; the results may differ")
    return train_and_print(training, "no run was made", as_json=as_json, quiet=quiet)
