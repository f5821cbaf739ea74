"""Results and figures of runs, from their journals."""

from cnnlab.reading.diagnosis import finding_tags
from cnnlab.reading.results import run_result
from cnnlab.reading.run_figures import draw

__all__ = ["draw", "finding_tags", "run_result"]
