"""What is made of runs that have ended: results, figures."""

from cnnlab.reading.figures import draw
from cnnlab.reading.results import run_result

__all__ = ["draw", "run_result"]
