"""Figures over several workloads, and a comparison as a part of a paper."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats

from cnnlab.cli.display.comparison_display import BAR, interval_bar
from cnnlab.comparison.paper import escaped, latex_table
from cnnlab.comparison.rope import with_rope
from cnnlab.comparison.verdicts import ArmResult, Final, Tuning, Verdicts, judge
from cnnlab.comparison.workloads import (
    draw_critical_difference,
    improvements,
    interquartile_mean,
    interquartile_means,
    probability_of_improvement,
)
from cnnlab.metrics import ACCURACY, LOSS, Metric

Cli = Callable[..., Any]
RUNS, WORKLOADS = 8, 5
SMALL = ("--trials", "1", "--tunings", "3", "--epochs", "1", "-s", "model.channels=[4]", "-s", "model.hidden=[]")
HERE = ("--workers", "1", "--tracking-uri", "none", "-q")


def matrices(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(runs, workloads) of two arms, with ties."""
    rng = np.random.default_rng(seed)
    levels = rng.uniform(0.6, 0.95, WORKLOADS)
    return tuple(np.round(levels + shift + 0.02 * rng.standard_normal((RUNS, WORKLOADS)), 2) for shift in (0.01, 0))


def rows(matrix: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(column) for column in matrix.T]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_figures_equal_those_of_rliable(seed: int) -> None:
    """With its bootstrap of 2,000 resamples; two such intervals differ by chance."""
    try:
        from rliable import library, metrics
    except (ImportError, TypeError) as error:  # rliable 1.2 needs arch < 8, which fails to import with pandas 3
        pytest.skip(f"rliable: {error}")
    np.random.seed(seed)  # rliable draws from it
    a, b = matrices(seed)
    rng = np.random.default_rng(seed)
    for ours, matrix in ((interquartile_mean(rows(m), rng), m) for m in (a, b)):
        points, ends = library.get_interval_estimates(
            {"one": matrix}, lambda x: np.array([metrics.aggregate_iqm(x)]), reps=2000
        )
        assert ours.value == pytest.approx(points["one"][0])
        assert [ours.ci_low, ours.ci_high] == pytest.approx(ends["one"][:, 0], abs=0.0025)
    improvement = probability_of_improvement(rows(a), rows(b), rng)
    points, ends = library.get_interval_estimates(
        {"a,b": (a, b)}, lambda x, y: np.array([metrics.probability_of_improvement(x, y)]), reps=2000
    )
    assert improvement.value == pytest.approx(points["a,b"][0])
    assert [improvement.ci_low, improvement.ci_high] == pytest.approx(ends["a,b"][:, 0], abs=0.02)


def test_figures_equal_plain_loops() -> None:
    """The definitions, and a bootstrap of one resample at a time."""
    a, b = matrices(4)
    ordered = sorted(a.flatten())
    middle = ordered[len(ordered) // 4 : len(ordered) - len(ordered) // 4]
    rng = np.random.default_rng(0)
    found = interquartile_mean(rows(a), rng)
    assert found.value == pytest.approx(sum(middle) / len(middle))

    def wins(x: np.ndarray, y: np.ndarray) -> float:
        each = [sum((p > q) + 0.5 * (p == q) for p in x[:, m] for q in y[:, m]) / RUNS**2 for m in range(WORKLOADS)]
        return sum(each) / WORKLOADS

    def again(matrix: np.ndarray) -> np.ndarray:
        return np.stack([matrix[rng.integers(RUNS, size=RUNS), m] for m in range(WORKLOADS)], axis=1)

    improvement = probability_of_improvement(rows(a), rows(b), rng)
    assert improvement.value == pytest.approx(wins(a, b))
    drawn = [wins(again(a), again(b)) for _ in range(500)]
    assert [improvement.ci_low, improvement.ci_high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.03)


def workload(seed: int, score: Metric = ACCURACY, **levels: float) -> Verdicts:
    rng = np.random.default_rng(seed)

    def arm(name: str, level: float) -> ArmResult:
        finals = [Final(0, float(level + 0.001 * rng.standard_normal())) for _ in range(5)]
        return ArmResult(name, tuple(Tuning(number, (), 0, {}, (final,), ()) for number, final in enumerate(finals)))

    return judge("optimizer", [arm(name, level) for name, level in levels.items()], 0.002, score=score)


def test_a_lower_loss_is_an_improvement() -> None:
    (found,) = improvements([workload(1, LOSS, sgd=0.5, adam=0.4), workload(2, ACCURACY, sgd=0.8, adam=0.9)])
    assert found.probability.value == (1 if found.a == "adam" else 0)


def test_scores_of_different_metrics_have_no_common_mean() -> None:
    assert interquartile_means([workload(1, LOSS, sgd=0.5, adam=0.4), workload(2, sgd=0.8, adam=0.9)]) == {}
    same = interquartile_means([workload(1, sgd=0.6, adam=0.7), workload(2, sgd=0.8, adam=0.9)])
    assert same["sgd"].ci_low <= same["sgd"].value <= same["sgd"].ci_high


THREE = {"sgd": 0.8, "adam": 0.85, "muon": 0.9}


def test_the_critical_difference_picture(tmp_path: Path) -> None:
    path, why = draw_critical_difference([workload(seed, **THREE) for seed in range(4)], tmp_path)
    if importlib.util.find_spec("scikit_posthocs") is None:
        assert path is None
        assert "pip install 'cnnlab[paper]'" in why
    else:
        assert path is not None
        assert path.stat().st_size > 5000
    path, why = draw_critical_difference([workload(seed, **THREE) for seed in range(2)], tmp_path)
    assert path is None
    assert "needs 3 workloads and 3 arms or more, but there are 2 and 3" in why


def test_several_workloads_in_json_and_for_people(cli: Cli) -> None:
    for name, batch_size in (("one", 32), ("two", 64)):
        Path(f"{name}.yaml").write_text(yaml.safe_dump({"name": name, "data": {"batch_size": batch_size}}))
    words = ("compare", "--workload", "one.yaml", "--workload", "two.yaml", "--optimizers", "sgd,adam", *SMALL, *HERE)
    done = cli(*words, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    scores = [score for load in found["workloads"] for arm in load["optimizers"] for score in arm["scores"]]
    assert all(min(scores) <= mean["ci_low"] <= mean["ci_high"] <= max(scores) for mean in found["iqm"].values())
    assert [{found["improvements"][0][side] for side in "ab"}] == [{"sgd", "adam"}]
    text = cli(*words).stdout
    assert "probability of a better score on a workload" in text
    assert "it needs 3 workloads and 3 arms or more, but there are 2 and 2" in text


def test_the_paper_has_paragraph_and_tables(cli: Cli) -> None:
    done = cli("compare", "--optimizers", "sgd,adam", *SMALL, *HERE, "--paper", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    report = Path("mlruns/studies", found["study"], "report")
    markdown, latex = (report / "paper.md").read_text(), (report / "paper.tex").read_text()
    paragraph = markdown.splitlines()[0]
    for text in ("on the dataset digits", "Each tuned 3 times with 1 trial (", "Student's t", found["verdict"]):
        assert text in paragraph
    assert all(caveat[1:] in paragraph for caveat in found["caveats"])
    assert markdown.count("\n| --- |") == 2
    assert latex.count(r"\begin{table}") == latex.count(r"\end{table}") == 2
    assert latex.count("{") == latex.count("}")
    body = latex.replace(r"\%", "").split("\n", 1)[1]
    assert "%" not in body  # LaTeX would drop the rest of the line


def test_latex_prints_text_as_it_is() -> None:
    assert escaped(r"50 % of a_b & c#1 {x} ~ ^ \ $") == (
        r"50 \% of a\_b \& c\#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} \$"
    )
    table = latex_table("x", ["a", "b"], [["[4, 8]", "2"]])
    assert r"{}[4, 8] & 2 \\" in table
    assert r"{ll}" in table


def test_rope_is_the_posterior_of_students_t() -> None:
    pytest.importorskip("baycomp")
    found = with_rope(workload(1, sgd=0.8, adam=0.802))
    (pair,) = found.pairs
    assert pair.rope is not None
    units = {arm.name: list(arm.units("optimizers").values()) for arm in found.arms}
    differences = np.array(units[pair.a]) - np.array(units[pair.b])
    posterior = stats.t(len(differences) - 1, differences.mean(), stats.sem(differences))
    assert pair.rope.better == pytest.approx(posterior.sf(0.002))
    assert pair.rope.worse == pytest.approx(posterior.cdf(-0.002))
    assert pair.rope.equal == pytest.approx(posterior.cdf(0.002) - posterior.cdf(-0.002))
    assert f"{pair.a} - {pair.b} better {pair.rope.better:.3f}" in found.caveats[-1]
    (loss,) = with_rope(workload(1, LOSS, sgd=0.5, adam=0.4)).pairs
    assert loss.rope is not None
    assert (loss.rope.better > 0.99) == (loss.a == "adam")


def test_rope_without_its_library_is_refused(cli: Cli) -> None:
    if importlib.util.find_spec("baycomp") is not None:
        pytest.skip("baycomp is installed")
    done = cli("compare", "--rope", *SMALL, *HERE)
    assert done.exit_code == 2
    assert "--rope: baycomp is missing; pip install 'cnnlab[paper]'" in done.stderr
    assert not Path("mlruns").exists()


def test_the_bar_of_an_interval_wider_than_the_axis_ends_with_arrows() -> None:
    bar = interval_bar(-50, 5, 60, 0, 10)
    assert (len(bar), bar[0], bar[-1]) == (BAR, "◂", "▸")
    assert interval_bar(1, 2, 30, 0, 10)[-1] == "▸"
