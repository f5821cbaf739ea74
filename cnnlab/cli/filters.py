"""`cnnlab filters`"""

import re
from collections.abc import Sequence
from pathlib import Path

import click

from cnnlab.cli.options import folder
from cnnlab.config import parse_yaml
from cnnlab.config.messages import nearest
from cnnlab.errors import BadInput, quoted
from cnnlab.result import strict_json

KERNELS: dict[str, Sequence[Sequence[float]]] = {
    "blur": [[1 / 9] * 3] * 3,
    "edges": [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],
    "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
    "emboss": [[-2, -1, 0], [-1, 1, 1], [0, 1, 2]],
    "sobel": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
}
LARGEST = 1e9
"""Of a kernel's numbers."""


@click.command("filters")
@click.argument("image", required=False, type=click.Path(path_type=Path))
@click.option(
    "--kernel",
    metavar="|".join([*KERNELS, "[[...]]"]),
    default="edges",
    show_default=True,
    help="Its name, or its rows of numbers.",
)
@click.option("--stride", type=click.IntRange(1, 4096), default=1, show_default=True, help="Pixels to the next patch.")
@click.option("--padding", type=click.IntRange(0, 4096), help="Zeros on each side. [default: half of the kernel]")
@click.option("--at", metavar="ROW,COLUMN", help="Work out this value. [default: the largest]")
@click.option("--plot", type=click.Path(), callback=folder, help="Write filters.png into this folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, and nothing else.")
def command(
    image: Path | None,
    kernel: str,
    stride: int,
    padding: int | None,
    at: str | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """IMAGE is a picture of any kind and size; its grey values are used. Without one, a built-in picture of a ring is
    taken. The kernel is not flipped, as in the layers of a CNN. sobel finds vertical edges.

    \b
    Example: cnnlab filters photo.jpg --kernel [[0,-1,0],[-1,4,-1],[0,-1,0]] --stride 2 --plot figures
    """
    numbers, place = _kernel(kernel), None if at is None else _place(at)
    from cnnlab.cli.display.filtering_display import print_filtered
    from cnnlab.reading.filtering import apply, draw_filtered, read_grey

    filtered = apply(read_grey(image), numbers, stride, padding, place)
    if plot:
        click.echo(draw_filtered(filtered, f"{kernel} on {image or 'a ring'}", plot), err=True)
    if as_json:
        click.echo(strict_json(filtered.result()))
    else:
        print_filtered(filtered)


def _kernel(text: str) -> Sequence[Sequence[float]]:
    """The rows of a kernel given by name or by its numbers. Raises BadInput if they are no kernel."""
    if text.lower() in KERNELS:
        return KERNELS[text.lower()]
    try:
        rows = parse_yaml(text)
    except BadInput:
        rows = None
    listed = isinstance(rows, list) and rows and all(isinstance(row, list) and row for row in rows)
    if not listed:
        raise _bad_kernel(text, f"it must be one of {', '.join(KERNELS)}, or rows of numbers", nearest(text, KERNELS))
    if len({len(row) for row in rows}) > 1:
        raise _bad_kernel(text, f"its rows must have one length, but have {', '.join(str(len(row)) for row in rows)}")
    values = [value for row in rows for value in row]
    if bad := [value for value in values if type(value) not in (int, float) or not abs(value) <= LARGEST]:
        raise _bad_kernel(text, f"{quoted(bad[0])} in it is not a number from {-LARGEST:g} to {LARGEST:g}")
    return rows  # type: ignore[no-any-return]


def _bad_kernel(text: str, why: str, hint: str = "") -> BadInput:
    return BadInput(f"--kernel {quoted(text)}: {why}, as in [[0,-1,0],[-1,4,-1],[0,-1,0]]{hint}")


def _place(text: str) -> tuple[int, int]:
    """Raises BadInput if the text is not ROW,COLUMN."""
    match = re.fullmatch(r"(\d{1,9}),(\d{1,9})", text)
    if match is None:
        raise BadInput(f"--at {quoted(text)}: is not allowed; it must be a row and a column of the output, as 3,14")
    return int(match[1]), int(match[2])
