"""Loss curves in characters, for terminals."""

import math
from collections.abc import Sequence

Point = tuple[int, float]


def curves(training: Sequence[Point], validation: Sequence[Point], width: int, height: int) -> str:
    """Training loss as a line and validation loss as points over it, against the step.

    Args:
        training, validation: (step, mean nats a sample); values that are not finite are left out.
        width, height: in characters.

    Returns:
        `height` lines, without control codes; empty where there are no two training points to draw.
    """
    points = _thinned([(step, loss) for step, loss in training if math.isfinite(loss)], 4 * width)
    if len(points) < 2:
        return ""
    # 0.3 s to import, so only where a curve is drawn
    import plotext

    figure = plotext.figure
    figure.clear()
    figure.plot_size(width, height)
    line = figure.signal(*zip(*points, strict=True), marker="braille")
    line.lines(True)
    figure.draw(line)
    if finite := [(step, loss) for step, loss in validation if math.isfinite(loss)]:
        figure.draw(figure.signal(*zip(*finite, strict=True), marker="●"))
    first, last = points[0][0], points[-1][0]
    ticks = sorted({first, (first + last) // 2, last})
    figure.ruler("x").ticks(ticks, [str(tick) for tick in ticks])
    text: str = plotext.uncolorize(figure.build())
    return text.rstrip("\n")


def _thinned(points: list[Point], most: int) -> list[Point]:
    """At most about `most` points, each the mean of its neighbours: what a terminal can show."""
    size = max(1, len(points) // most)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], sum(loss for _, loss in group) / len(group)) for group in groups]
