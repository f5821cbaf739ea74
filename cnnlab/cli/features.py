"""`cnnlab features`"""

from pathlib import Path

import click

from cnnlab.cli.completion import complete_run
from cnnlab.cli.options import dataset_options, dataset_settings, device_option, new_file
from cnnlab.cli.streams import complain
from cnnlab.config.data import TASKS
from cnnlab.errors import BadInput


@click.command("features")
@click.argument("run", shell_complete=complete_run)
@click.argument("images", nargs=-1, type=click.Path(allow_dash=True), metavar="[IMAGE|FOLDER|- ...]")
@click.option("-o", "--output", type=click.Path(), callback=new_file, help="Write this .npz file.")
@click.option("--layer", help="The layer, by its name. [default: the input of the last one with weights]")
@dataset_options
@click.option(
    "--fit",
    "kind",
    type=click.Choice(["logistic", "svm", "knn"]),
    help="Train this classifier on the training images, and measure it on the test images.",
)
@device_option
def command(
    run: str,
    images: tuple[str, ...],
    output: Path | None,
    layer: str | None,
    dataset: str | None,
    data_root: str | None,
    assignments: tuple[str, ...],
    kind: str | None,
    device: str,
) -> int:
    """RUN is a run id, an unambiguous beginning of one, last, or a run's directory. Of a dataset the file has the
    arrays train, train_labels, val, val_labels, test, test_labels and classes; of images without labels features and
    names.

    \b
    Example: cnnlab features last -o features.npz --fit logistic
    """
    from cnnlab.reading.evaluation import load_for
    from cnnlab.reading.features import features_of_dataset, features_of_pictures, fit, save
    from cnnlab.reading.predictions import find_pictures
    from cnnlab.reading.trained import load_trained
    from cnnlab.tracking import find_run

    if not (output or kind):
        raise BadInput("--output: a file or --fit is needed, as in -o features.npz")
    settings = dataset_settings(dataset, data_root, assignments)
    if images and (kind or settings):
        raise BadInput("--fit, --dataset, --data-root and --set are for images with labels; leave out the images")
    trained = load_trained(find_run(run).path)
    if kind and trained.task.output_shape[1:]:
        raise BadInput("--fit: masks are no labels of images; leave out --fit for a segmentation run")
    broken: dict[str, str] = {}
    if images:
        arrays, broken = features_of_pictures(trained, find_pictures(images), layer, device)
    else:
        found, doubts = load_for(trained, settings)
        for doubt in doubts:
            complain(doubt)
        arrays = features_of_dataset(trained, found, layer, device)
    for name, why in broken.items():
        complain(f"{name} is not an image that can be read ({why})")
    if output:
        save(arrays, output)
        click.echo(f"{output}: " + ", ".join(f"{name} {'x'.join(map(str, a.shape))}" for name, a in arrays.items()))
    if kind:
        metric = next(metric for metric in TASKS[trained.started.task].metrics if metric.counts_samples)
        click.echo(
            f"{kind} on {arrays['train'].shape[1]} features: test {metric.words} {fit(arrays, kind):.4f} "
            f"(the network in its run: {trained.ended.test[metric.name]:.4f})"
        )
    return int(bool(broken))
