"""Results and figures of runs, from their journals."""

from cnnlab.reading.results import run_result
from cnnlab.reading.run_figures import draw
from cnnlab.reading.run_page import run_page

__all__ = ["draw", "run_page", "run_result"]
