"""What `filters` prints: sizes, small pictures on a colour terminal, one value worked out. It imports Rich."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.columns import Columns
from rich.console import Group
from rich.table import Table
from rich.text import Text

from cnnlab.cli.display.inspection_display import half_blocks
from cnnlab.cli.display.terminal import WHOLE, facts_table, result_console

if TYPE_CHECKING:
    from cnnlab.reading.filtering import Filtered


def print_filtered(filtered: "Filtered") -> None:
    """Print the sizes by the formula, and the products of a patch and the kernel with their sum."""
    result, console = filtered.result(), result_console(in_pipe=WHOLE)
    sides = zip(result.image_size, filtered.kernel.shape, result.padding, result.output_size, strict=True)
    sums = [f"({size} - {kernel} + 2*{pad})/{result.stride} + 1 = {after}" for size, kernel, pad, after in sides]
    facts = facts_table()
    facts.add_row("image", f"{result.image_size[0]} x {result.image_size[1]} grey values from 0 to 255")
    facts.add_row("output", f"rows {sums[0]}, columns {sums[1]}")
    facts.add_row("", f"rounded down; values from {result.lowest:.4g} to {result.highest:.4g}")
    console.print(facts)
    if console.is_terminal and console.color_system in ("256", "truecolor"):
        output = filtered.output - filtered.output.min()
        pictures = (filtered.image, output * (255 / max(float(output.max()), 1e-9)))
        console.print(Columns([half_blocks(pixels[None].byte()) for pixels in pictures], padding=(1, 2)))
    row, column = result.at
    console.print(f"\nrow {row}, column {column} of the output:")
    blocks = {"values below the kernel": result.patch, "kernel": result.kernel, "products": result.products}
    console.print(Columns([Group(Text(title), _numbers(rows)) for title, rows in blocks.items()], padding=(0, 4)))
    console.print(f"their sum is {result.value:.4g}")


def _numbers(rows: Sequence[Sequence[float]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for _ in rows[0]:
        table.add_column(justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(f"{value + 0:.4g}" for value in row))
    return table
