"""A run's figures as PNG, from its journal and the examples that it left."""

from pathlib import Path

from cnnlab.errors import BadInput, shortened
from cnnlab.reading.figures import confusion_figure, curves_figure
from cnnlab.reading.masks import masks_figure
from cnnlab.records import RunEnded, RunStarted, Steps
from cnnlab.tracking import RunDir, last, read

EXAMPLES = {"segmentation": masks_figure}
"""Task -> what draws the examples that its runs leave: their file, the classes, a title."""


def draw(run_dir: Path, into: Path) -> list[Path]:
    """Write the run's figures into a folder; returns their paths.

    curves.png; confusion.png, if the test split was measured; examples.png, if the task's figure shows some.

    A run without a single step leaves nothing to draw. Raises BadInput where the folder cannot be made.
    """
    run = RunDir(run_dir)
    records = read(run.journal_file)[0]
    figures = {}
    if any(isinstance(record, Steps) for record in records):
        figures["curves.png"] = curves_figure(records, run.run_id)
    started, ended = last(records, RunStarted), last(records, RunEnded)
    if started and ended and ended.confusion:
        figures["confusion.png"] = confusion_figure(ended.confusion, started.classes, run.run_id)
    if started and ended and ended.examples_file:
        examples = run_dir / ended.examples_file
        figures["examples.png"] = EXAMPLES[started.task](examples, started.classes, run.run_id)
    try:
        into.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{shortened(str(into))}: the figures' folder cannot be made ({error.strerror})") from None
    for name, figure in figures.items():
        figure.savefig(into / name, dpi=120)
    return [into / name for name in figures]
