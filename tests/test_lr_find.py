"""The range test: its steps against plain PyTorch, its suggestions on curves that are known, and the command."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result

from cnnlab.config import read_config
from cnnlab.reading.range_test import SMOOTHING, RangeTest, range_test
from cnnlab.run import prepare

RATES = tuple(np.geomspace(1e-4, 10, 101).tolist())


def bowl(rate: float) -> float:
    """Falls fastest at 0.01, is lowest at about 0.2, is above its first value from 2 on."""
    return 2 - 1 / (1 + (0.01 / rate) ** 2) + math.exp(4 * (rate - 2)) if rate < 3 else 99.0


def test_the_suggestions_are_where_the_curve_was_made_to_have_them() -> None:
    losses = tuple(map(bowl, RATES))
    tenth, steepest = RangeTest(RATES, (losses,) * 3).suggestions()
    assert tenth.lr == pytest.approx(0.2, rel=0.15)
    assert steepest.lr == pytest.approx(0.01, rel=0.15)
    assert tenth.alone == (tenth.lr, tenth.lr)


def test_the_spread_is_that_of_the_seeds() -> None:
    shifted = [tuple(bowl(rate * by) for rate in RATES) for by in (0.5, 1, 2)]
    tenth, _ = RangeTest(RATES, tuple(shifted)).suggestions()
    assert tenth.alone == (pytest.approx(0.1, rel=0.15), pytest.approx(0.4, rel=0.15))


def test_the_first_suggestion_is_the_best_rate_that_was_tried() -> None:
    trials = {0.001: (0.9, 0.8), 0.003: (0.5, 0.6), 0.01: (0.2, math.inf)}
    first, *of_test = RangeTest(RATES, (tuple(map(bowl, RATES)),) * 2, trials).suggestions()
    assert (first.lr, first.alone) == (0.003, (0.003, 0.01))
    assert of_test == RangeTest(RATES, (tuple(map(bowl, RATES)),) * 2).suggestions()
    assert RangeTest(RATES, (tuple(map(bowl, RATES)),) * 2, trials).search() == "lr=0.001:0.009:log"


def test_one_noisy_step_is_not_where_the_loss_falls_fastest() -> None:
    losses = [bowl(rate) + (0.3 if step == 10 else 0) for step, rate in enumerate(RATES)]
    assert RangeTest(RATES, (tuple(losses),)).suggestions()[1].lr == pytest.approx(0.01, rel=0.15)


@pytest.mark.parametrize("losses", [[3.0] * 101, [3.0] * 40, list(np.linspace(1, 2, 101))])
def test_a_loss_that_never_falls_gives_rates_all_the_same(losses: list[float]) -> None:
    for suggestion in RangeTest(RATES, (tuple(losses),)).suggestions():
        assert RATES[0] / 10 <= suggestion.lr <= RATES[-1]


def test_the_losses_are_those_of_plain_pytorch() -> None:
    """Full batches, so that the order of the images is nothing; SGD without momentum."""
    settings = {
        "data.batch_size": "full",
        "data.train_size": 64,
        "optimizer.momentum": 0,
        "model.name": "mlp",
        "training.precision": "fp32",
    }
    config, _ = read_config(None, settings)
    test = range_test(config, seeds=2, steps=30)

    def smoothed(rates: Sequence[float]) -> list[float]:
        learner = prepare(config)
        images, labels = learner.dataset.train.inputs, learner.dataset.train.targets
        model, mean, found = learner.model.train(), 0.0, []
        for step, rate in enumerate(rates):
            loss = torch.nn.functional.cross_entropy(model(images), labels)
            model.zero_grad()
            loss.backward()
            with torch.no_grad():
                for weight in model.parameters():
                    weight -= rate * weight.grad
            mean = SMOOTHING * mean + (1 - SMOOTHING) * loss.item()
            found.append(mean / (1 - SMOOTHING ** (step + 1)))
        return found

    first = test.losses[0]
    assert len(first) > 20
    assert first == pytest.approx(smoothed(np.geomspace(1e-4, 10, 30).tolist())[: len(first)], rel=1e-4)
    assert test.rates[0] == pytest.approx(1e-4)
    peak, ends = next(iter(test.trials.items()))
    assert ends[0] == pytest.approx(smoothed([peak * (1 - step / 30) for step in range(30)])[-1], rel=1e-4)
    of_test = [suggestion.lr for suggestion in test.suggestions()[1:]]
    assert (min(test.trials), max(test.trials)) == pytest.approx((min(of_test) / 4, max(of_test) * 4), rel=0.05)
    best = test.suggestions()[0].lr
    assert min(max(rate / best, best / rate) for rate in test.trials if rate != best) < 1.5


def test_each_seed_starts_from_the_same_weights() -> None:
    """So at a rate of nearly 0 the losses of full batches are the same, although seeds initialise differently."""
    settings = {
        "data.batch_size": "full",
        "data.train_size": 64,
        "training.precision": "fp32",
    }
    test = range_test(read_config(None, settings)[0], seeds=3, steps=20)
    assert test.losses[0][0] == pytest.approx(test.losses[1][0], rel=1e-5)


def test_the_command_prints_a_sweep_that_runs_and_makes_no_run(cli: Callable[..., Result]) -> None:
    words = ["--model", "mlp", "-s", "data.train_size=200", "-s", "model.hidden=[16]"]
    done = cli("lr-find", *words, "--steps", "20", "--plot", "figures")
    assert done.exit_code == 0, done.output
    assert Path("figures/lr_find.png").read_bytes().startswith(b"\x89PNG")
    assert not Path("mlruns").exists()
    line = next(line for line in done.stdout.splitlines() if line.startswith("next: cnnlab sweep "))
    import shlex

    again = cli(*shlex.split(line.removeprefix("next: cnnlab ")), "--dry-run", "-q")
    assert again.exit_code == 0, again.output
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 100
    found = json.loads(cli("lr-find", *words, "--steps", "20", "--json").stdout)
    assert f"--search {found['search']}" in line
    assert [round(math.log10(found["rates"][end])) for end in (0, -1)] == [-4, 1]
    assert len(found["losses"]) == 3
    assert 7 <= len(found["trials"]) <= 9
    means = {trial["lr"]: sum(math.inf if y is None else y for y in trial["losses"]) / 3 for trial in found["trials"]}
    assert list(means) == sorted(means)
    assert min(means, key=means.__getitem__) == found["suggestions"][0]["lr"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seeds", "0"], "--seeds"),
        (["--steps", "5"], "--steps"),
        (["--lr", "0"], "optimizer.lr: 0 is not allowed"),
        (["--model", "mlpp"], "model.name: 'mlpp' is unknown"),
        (["nothing.yaml"], "nothing.yaml: there is no such file"),
        (["--plot", ""], "--plot: '' is not allowed"),
        (["--plot", "file"], "--plot: 'file' is not allowed; it must be the name of a folder"),
        (["--sed", "3"], "--sed: unknown option; did you mean --seed"),
        (["-s", "data.batch_size=5000"], "data.batch_size: 5000 is not allowed"),
    ],
)
def test_bad_input_is_one_line(words: list[str], said: str, cli: Callable[..., Result]) -> None:
    Path("file").write_text("")
    done = cli("lr-find", *words)
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
