"""Results and figures of runs, from their journals."""

from cnnlab.reading.diagnosis import finding_tags
from cnnlab.reading.results import run_result
from cnnlab.reading.run_figures import draw, draw_several
from cnnlab.reading.run_page import run_page

__all__ = ["draw", "draw_several", "finding_tags", "run_page", "run_result"]
