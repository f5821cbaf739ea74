"""The courier's own process, `python -m cnnlab.cli.courier`, and the same delivery for `cnnlab sync`.

Tracking knows neither networks nor figures; here it is handed both.
"""

from pathlib import Path
from typing import Any

from cnnlab.tracking import RunDir


def load_model(path: Path) -> Any:
    """A finished run's network and two example images."""
    from cnnlab.run import load_trained

    return load_trained(path)


def draw_figures(path: Path, into: Path) -> list[Path]:
    """A run's figures."""
    from cnnlab.analysis import draw

    return draw(path, into)
