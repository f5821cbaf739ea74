"""Figures can be read on a white page and on a black one, and their curves have no end that chance made."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from cnnlab.look import INK, new_figure, save
from cnnlab.reading.run_figures import thinned


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize("page", ["white", "black"])
def test_text_has_the_contrast_that_wcag_asks_for(page: str) -> None:
    dark, light = sorted((luminance(INK), luminance(page)))
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_nothing_but_data_and_ink_is_opaque(tmp_path: Path) -> None:
    figure = new_figure(4, 3)
    axes = figure.subplots()
    axes.plot([1, 100], [0, 1], color="C0", label="data")
    axes.plot([1, 100], [1, 0], color="black", label="a limit")
    axes.set(xscale="log", title="title", xlabel="x", ylabel="y")
    axes.grid()
    axes.legend()
    pixels = np.asarray(Image.open(save(figure, tmp_path / "a.png")).convert("RGBA")).reshape(-1, 4)
    opaque = {tuple(pixel[:3] / 255) for pixel in np.unique(pixels[pixels[:, 3] == 255], axis=0)}
    for red, green, blue in opaque:
        ink = max(abs(red - green), abs(green - blue), abs(red - to_rgb(INK)[0])) < 0.02
        assert ink or blue - red > 0.1, (red, green, blue)  # C0, or where it is mixed with ink
    assert (pixels[:, 3] == 0).mean() > 0.5


@pytest.mark.parametrize("steps", [0, 1, 99, 100, 101, 199, 201, 999, 5041])
def test_each_point_of_a_thinned_curve_is_the_mean_of_as_many_steps(steps: int) -> None:
    points = thinned([(step, float(step)) for step in range(1, steps + 1)], 100)
    assert len(points) == min(steps, 100)
    ends = [step for step, _ in points]
    sizes = np.diff([0, *ends])
    assert steps == 0 or (ends[-1] == steps and sizes.max() - sizes.min() <= 1)
    assert [y for _, y in points] == [end - (size - 1) / 2 for end, size in zip(ends, sizes, strict=True)]
