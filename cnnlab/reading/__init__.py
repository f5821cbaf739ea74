"""Results and figures of runs, from their journals."""

from cnnlab.reading.figures import draw
from cnnlab.reading.results import run_result

__all__ = ["draw", "run_result"]
