"""The table of `describe` on stdout: a row per layer, totals, the formula with numbers. It imports Rich."""

import sys
from collections.abc import Sequence
from typing import Any

from cnnlab.cli.display.terminal import WHOLE, fitted_table, result_console
from cnnlab.result import Result

COLUMNS = ("name", "layer", "input", "kernel", "stride", "pad", "output", "field", "parameters", "mult-adds", "memory")
SPARE = (("name",), ("input",), ("memory",), ("stride", "pad"), ("mult-adds",), ("kernel",), ("field",))
"""Columns that are left out on a narrow terminal, in this order."""


def print_description(result: Result) -> None:
    """A row per layer, the totals, the formula with the numbers of the first window, the weight decay."""
    room = result_console().width if sys.stdout.isatty() else None
    rows = [
        [
            layer["name"],
            layer["kind"].removesuffix("2d").removeprefix("Adaptive"),
            _by(layer["input"]),
            _by(layer["kernel"] or ()),
            *(_pixels(layer[setting] or ()) for setting in ("stride", "padding")),
            _by(layer["output"]),
            _pixels(layer["receptive_field"]),
            f"{layer['parameters']:,}" if layer["parameters"] else "",
            _short(layer["multiply_adds"]),
            _short(layer["activation_bytes"], "B"),
        ]
        for layer in result.layers
    ]
    console = result_console(in_pipe=WHOLE)
    console.print(fitted_table(COLUMNS, rows, SPARE, room, right=COLUMNS[-4:])[0])
    sample = "image" if len(result.image_shape) > 1 else "point"
    console.print(
        f"\n{result.parameters:,} parameters, {result.multiply_adds:,} multiply-adds per {sample}; "
        f"activations in fp32: {_short(result.activation_bytes, 'B')} at batch size {result.batch_size}"
    )
    if formula := _formula(result.layers):
        console.print(formula)
    decays = [f"{each['setting']} {each['value']:g} ({each['kind']})" for each in result.weight_decay]
    console.print(f"weight decay: {', '.join(decays) or 'none'}")


def _by(sides: Sequence[int]) -> str:
    """`16x8x8`"""
    return "x".join(map(str, sides))


def _pixels(sides: Sequence[int]) -> str:
    """`3`, or `1x7` if height and width differ."""
    return _by(sides if len(set(sides)) > 1 else sides[:1])


def _short(number: int, unit: str = "") -> str:
    """`1.85 G`; nothing for 0."""
    for prefix, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {prefix}{unit}"
    return f"{number} {unit}".rstrip() if number else ""


def _formula(layers: Sequence[dict[str, Any]]) -> str | None:
    """The size of the output of the first layer with a window."""
    for layer in layers:
        if layer["kernel"] and len(layer["output"]) == 3 and not layer["kind"].startswith("ConvTranspose"):
            size, kernel, padding = layer["input"][1], layer["kernel"][0], layer["padding"][0]
            stride, output = layer["stride"][0], layer["output"][1]
            return (
                "OutputSize = (InputSize - KernelSize + 2*Padding)/Stride + 1, rounded down; "
                f"first layer: ({size} - {kernel} + 2*{padding})/{stride} + 1 = {output}"
            )
    return None
