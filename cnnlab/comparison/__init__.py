"""Comparisons: arms tuned with the same budget, trained again on fresh seeds, judged pair by pair."""
