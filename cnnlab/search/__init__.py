"""Sweeps: what is tried, where it runs, what it found. The only place that imports Optuna."""
