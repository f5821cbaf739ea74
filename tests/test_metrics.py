"""A metric knows its direction, unit and format; nobody else in the package says which metric there is."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import cnnlab
from cnnlab.metrics import ACCURACY, LOSS, MEAN_IOU, Metric

ROOT = Path(cnnlab.__file__).parent
PSNR = Metric("psnr", unit="dB")


@pytest.mark.parametrize(("metric", "better", "worse"), [(ACCURACY, 0.9, 0.8), (LOSS, 0.8, 0.9), (PSNR, 24.0, 23.0)])
def test_every_question_of_order_is_answered_in_the_metrics_direction(
    metric: Metric, better: float, worse: float
) -> None:
    assert metric.gain(better, worse) == pytest.approx(abs(better - worse))
    assert sorted([None, worse, better], key=metric.rank) == [better, worse, None]
    assert metric.best([worse, None, better, float("nan")]) == better
    assert metric.best([None]) is None
    assert metric.reaches(better, worse)
    assert metric.reaches(better, better)
    assert not metric.reaches(worse, better)
    assert metric.gain(better, metric.worst) > 0


def test_values_and_differences_are_printed_in_the_metrics_unit() -> None:
    assert (ACCURACY.show(0.98334), ACCURACY.table(0.98334), ACCURACY.table(0.0073, sign="+")) == (
        "0.9833",
        "98.33",
        "+0.73",
    )
    assert ACCURACY.in_tables == ", %"
    assert (LOSS.show(0.5), LOSS.table(0.5), LOSS.points, LOSS.in_tables) == ("0.5000", "0.5000", "units", "")
    assert (PSNR.show(24.3), PSNR.table(24.3), PSNR.in_tables) == ("24.3000 dB", "24.30", ", dB")
    assert (MEAN_IOU.words, MEAN_IOU.short, ACCURACY.short) == ("mean IoU", "mIoU", "acc")


def test_a_fraction_of_one_or_more_is_out_of_reach() -> None:
    with pytest.raises(ValueError, match="accuracy is a fraction between 0 and 1"):
        ACCURACY.check_target(1.5)
    LOSS.check_target(1.5)


KNOW = {
    "metrics.py": "what metrics there are",
    "config/data.py": "which of them a task has",
    "tasks": "how they come of what was counted",
    "records": "what journals of older versions meant",
    "training/ledger.py": "what checkpoints of older versions meant",
    "search/slots.py": "a name in studies that exist",
}


def said(tree: ast.AST) -> Iterator[str]:
    """Names and texts, but no docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value.value = ""
    for node in ast.walk(tree):
        for name in ("id", "attr", "arg", "name"):
            if isinstance(value := getattr(node, name, None), str):
                yield value
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_nobody_else_says_accuracy_or_maximize() -> None:
    for path in sorted(ROOT.rglob("*.py")):
        place = str(path.relative_to(ROOT))
        if not any(place == known or place.startswith(f"{known}/") for known in KNOW):
            words = [word for word in said(ast.parse(path.read_text())) if "accuracy" in word.lower()]
            words += [word for word in said(ast.parse(path.read_text())) if "maximize" in word.lower()]
            assert not words, f"{place}: {words}"
