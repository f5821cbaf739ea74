"""What is made of runs that have ended: figures."""

from cnnlab.reading.figures import draw

__all__ = ["draw"]
