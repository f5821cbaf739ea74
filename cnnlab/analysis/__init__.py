"""What a run's records show: figures."""

from cnnlab.analysis.figures import draw

__all__ = ["draw"]
