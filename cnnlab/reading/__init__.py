"""What is made of runs that have ended: figures."""

from cnnlab.reading.draw import draw

__all__ = ["draw"]
