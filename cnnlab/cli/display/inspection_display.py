"""What `inspect` prints: the most frequent errors, the worst images in half blocks, and the files. It imports Rich."""

import os
from typing import TYPE_CHECKING, Any

from rich.color import Color
from rich.columns import Columns
from rich.console import Group
from rich.style import Style
from rich.text import Text

from cnnlab.cli.display.terminal import plain_table, result_console
from cnnlab.result import Result

if TYPE_CHECKING:
    from cnnlab.reading.inspection_page import Inspector

SHOWN, SIDE = 6, 24
"""Images on the terminal, and the most columns of each."""


def print_inspection(result: Result, inspector: "Inspector") -> None:
    """Print the most frequent errors, the worst images if the terminal has colours for them, and the page."""
    console = result_console()
    table = plain_table("true", "predicted", "count", right=("count",))
    for pair in result.confused[:SHOWN]:
        table.add_row(pair["true"], pair["predicted"], f"{pair['count']:,}")
    console.print(table)
    if console.is_terminal and console.color_system in ("256", "truecolor"):
        worst = inspector.worst[:SHOWN]
        pictures = [Group(inspector.caption(index), half_blocks(inspector.test.inputs[index])) for index in worst]
        console.print(Columns(pictures, padding=(1, 2)))
    console.print(f"{len(result.files) - 1} pictures and a page: {os.path.relpath(result.files[-1])}", soft_wrap=True)


def half_blocks(image: Any) -> Text:
    """An image in characters, two pixels each: the upper one is the character's colour, the lower its background.

    Args:
        image: (C, H, W) uint8; a large one is subsampled.
    """
    step = max(1, -(-image.shape[2] // SIDE))
    rows = image.expand(3, -1, -1)[:, ::step, ::step].movedim(0, -1).tolist()
    text = Text(no_wrap=True)
    for upper, lower in zip(rows[::2], [*rows[1::2], rows[-1]], strict=False):
        for top, bottom in zip(upper, lower, strict=True):
            text.append("▀", Style(color=Color.from_rgb(*top), bgcolor=Color.from_rgb(*bottom)))
        text.append("\n")
    return text
