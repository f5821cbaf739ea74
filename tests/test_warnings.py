"""What has to be said of a finished run beside its result, on real runs of the built-in digits."""

import json
import re
from collections.abc import Callable

import pytest
from click.testing import Result

from cnnlab.reading.results import _guesses

QUICK = ["-s", "data.train_size=400", "--epochs", "2", "--tracking-uri", "none", "-q"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["--lr", "20"], "the training loss rose from 2.3"),
        (["--lr", "1e-5"], "the training loss hardly fell, from 2.3"),
        (["--optimizer", "adam", "--lr", "1"], "optimizer.lr=1 is likely too high"),
        (["--optimizer", "adam", "--lr", "0.01"], ""),
    ],
    ids=str,
)
def test_a_training_that_learned_nothing_says_so_and_why(
    cli: Callable[..., Result], settings: list[str], said: str
) -> None:
    result = json.loads(cli("train", *QUICK, *settings, "--json").stdout)
    assert result["status"] == "finished"
    if not said:
        assert (result["warnings"], result["test_accuracy"] > 0.5) == ([], True)
        return
    (warning,) = result["warnings"]
    assert warning.startswith(f"no better than guessing ({result['test_accuracy']:.2f} for 10 classes): ")
    assert said in warning
    assert re.search("warning +no better than guessing", cli("show", "last").stdout)


@pytest.mark.parametrize(
    ("confusion", "of_images", "guesses"),
    [
        ([[50, 0], [50, 0]], True, True),  # one answer
        ([[25, 25], [25, 25]], True, True),
        ([[30, 20], [20, 30]], True, False),  # 0.6 of 100 where guessing has 0.5: two standard errors would be 0.1
        ([[90, 0], [9, 1]], True, True),  # 0.91, but always the first class has 0.90
        ([[2, 1], [0, 3]], True, False),  # few images: 0.83
        ([[900, 50], [45, 5]], False, False),  # pixels that are mostly background are no measure
        ([[9500, 5], [495, 0]], False, True),
    ],
)
def test_guessing_is_what_one_could_do_without_looking(
    confusion: list[list[int]], of_images: bool, guesses: bool
) -> None:
    right = sum(row[true] for true, row in enumerate(confusion)) / sum(map(sum, confusion))
    assert _guesses(confusion, right, of_images=of_images) == guesses
