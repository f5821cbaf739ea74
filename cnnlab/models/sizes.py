"""How large the output of a layer is, in pixels; an empty one is refused with the arithmetic that shows why."""

from cnnlab.errors import BadInput


def window_output(size: int, kernel: int, padding: int, stride: int, layer: str) -> int:
    """Side of the output of a convolution or pooling window over an input of `size` pixels.

    OutputSize = (InputSize - KernelSize + 2*Padding)/Stride + 1, rounded down (Dumoulin and Visin 2016,
    relationship 6).

    Raises:
        BadInput: where the output would be empty, with the formula's numbers; `layer` says which layer it is.
    """
    output = (size - kernel + 2 * padding) // stride + 1
    if output < 1:
        raise BadInput(
            f"{layer}: the output would be empty: OutputSize = (InputSize - KernelSize + 2*Padding)/Stride + 1 = "
            f"({size} - {kernel} + 2*{padding})/{stride} + 1 = {output}; "
            "use fewer or smaller windows, more padding, or larger images (data.resize)"
        )
    return output
