"""Comparisons: arms tuned with the same budget, trained again on the same fresh seeds, judged pair by pair."""

from cnnlab.comparison.comparison import Comparison

__all__ = ["Comparison"]
