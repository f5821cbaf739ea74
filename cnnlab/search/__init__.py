"""Sweeps: what is tried, where it runs, what it found. The only place that imports Optuna, and only once it begins."""

from cnnlab.search.plan import Plan
from cnnlab.search.sweep import Sweep

__all__ = ["Plan", "Sweep"]
