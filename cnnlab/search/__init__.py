"""Sweeps: plan, study, trials, findings. The only package that imports Optuna, and only when a sweep begins."""

from cnnlab.search.plan import Plan
from cnnlab.search.run_sweep import Sweep

__all__ = ["Plan", "Sweep"]
