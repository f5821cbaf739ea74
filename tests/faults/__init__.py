"""Faults staged on purpose: nothing that was synced may be lost, and each fault is named in one line."""
