"""Results and figures of runs, from their journals."""

from cnnlab.reading.results import run_result
from cnnlab.reading.run_figures import draw, draw_several
from cnnlab.reading.run_page import run_page

__all__ = ["draw", "draw_several", "run_page", "run_result"]
