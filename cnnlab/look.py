"""How all figures look: transparent, with text and lines that are legible on a white and on a black page."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnlab.errors import BadInput, shortened

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

INK = "#757575"
"""Of text and axes: its contrast is 4.6 to 1 on white and on black; 4.5 is enough for text (WCAG 2.2, 1.4.3)."""
WHITE_ON = "berlin"
"""Matplotlib's colours of signed numbers between which white text can be read: from half of the range to half."""


def new_figure(width: float, height: float) -> "Figure":
    """A figure without pyplot, which has global state and windows."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def signed() -> "Colormap":
    """From blue to red; zero is transparent."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgba

    stops = ((0, "tab:blue", 1), (0.5, "tab:blue", 0), (0.5, "tab:red", 0), (1, "tab:red", 1))
    return LinearSegmentedColormap.from_list("signed", [(at, to_rgba(name, alpha)) for at, name, alpha in stops])


def save(figure: "Figure", path: Path, dpi: int = 120, **how: Any) -> Path:
    """Write a figure as PNG, with what is dark in it in INK; returns the path."""
    from matplotlib.colors import to_rgb
    from matplotlib.legend import Legend
    from matplotlib.lines import Line2D
    from matplotlib.text import Text

    for axes in figure.axes:
        axes.tick_params(which="both", colors=INK, grid_color=INK, grid_alpha=0.3)
        for spine in axes.spines.values():
            spine.set_edgecolor(INK)
    drawn: list[Any] = [*figure.findobj(Text), *figure.findobj(Line2D)]
    for artist in drawn:
        if max(to_rgb(artist.get_color())) < 0.5:
            artist.set_color(INK)
    for legend in figure.findobj(Legend):
        legend.get_frame().set(facecolor="none", edgecolor=INK)
    figure.savefig(path, dpi=dpi, transparent=True, **how)
    return path


def saved(figures: "Mapping[str, Figure]", into: Path) -> list[Path]:
    """Write figures (name -> figure) into a folder; returns their paths. Raises BadInput if it cannot be made."""
    try:
        into.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{shortened(str(into))}: the figures' folder cannot be made ({error.strerror})") from None
    return [save(figure, into / name) for name, figure in figures.items()]
