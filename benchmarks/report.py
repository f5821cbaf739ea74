"""What the benchmarks say of the machine they ran on, and their bar charts."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def draw(names: Sequence[str], values: Sequence[Sequence[float]], label: str, path: Path) -> None:
    """Bars of medians with lines from the lowest to the highest; cnnlab's own in another colour."""
    import statistics

    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.4 * len(names) + 1.2), layout="constrained")
    axes = figure.subplots()
    medians = [statistics.median(found) for found in values]
    order = sorted(range(len(names)), key=lambda index: medians[index])
    spread = [
        [medians[index] - min(values[index]) for index in order],
        [max(values[index]) - medians[index] for index in order],
    ]
    bars = axes.barh(
        [names[index] for index in order],
        [medians[index] for index in order],
        xerr=spread,
        color=["C1" if names[index].startswith("cnnlab") else "C7" for index in order],
        ecolor="0.3",
        capsize=2,
    )
    axes.bar_label(bars, [f"{medians[index]:,.0f}" for index in order], padding=6)
    axes.margins(x=0.15)
    axes.set_xlabel(label)
    figure.savefig(path, dpi=120)
