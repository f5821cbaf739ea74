"""Search spaces: from YAML and flags, checked before anything runs; points, conditions, scales."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.config import RunConfig, changed, flat
from cnnlab.config.optimizers import OPTIMIZERS
from cnnlab.config.space import Choices, Range, Space
from cnnlab.config.space_reading import read_space
from cnnlab.errors import BadInput


def space(*words: str, **search: Any) -> Space:
    named = {key.replace("__", "."): value for key, value in search.items()}
    return read_space(RunConfig.model_validate({"search": named or None}), words)


def domains(found: Space) -> dict[str, str]:
    return {dimension.name: str(dimension.domain) for dimension in found.dimensions}


def test_without_a_word_the_five_common_hyperparameters_are_searched() -> None:
    assert domains(space()) == {
        "optimizer.lr": "0.001 .. 1 (log)",
        "optimizer.momentum": "0.5 .. 0.99 (log of 1 - value)",
        "optimizer.weight_decay": "1e-06 .. 0.01 (log)",
        "data.batch_size": "16, 32, 64, 128, 256",
        "model.dropout": "0 .. 0.6",
    }


def test_flags_names_and_dotted_paths_both_serve_and_flags_lie_over_yaml() -> None:
    found = space("lr=1e-4:1:log", "model.channels=[16,32],[32,64]", data__batch_size=[8, 16], optimizer__lr=[1, 2])
    assert domains(found) == {
        "data.batch_size": "8, 16",
        "optimizer.lr": "0.0001 .. 1 (log)",
        "model.channels": "[16, 32], [32, 64]",
    }
    assert space("batch-size=8:64:log").dimensions[0].domain == Range(8, 64, log=True, integer=True)
    assert space("momentum=0.1:0.9").dimensions[0].domain == Range(0.1, 0.9)


def test_each_optimizer_brings_its_own_ranges_and_is_handed_nothing_that_it_has_not_got() -> None:
    found = space(optimizer__name=["sgd", "adam", "rmsprop"], optimizer__momentum={"low": 0, "high": 0.9})
    for name in ("sgd", "adam", "rmsprop"):
        params = found.choose(lambda d, name=name: name if d.path == "optimizer.name" else 0.001)  # type: ignore[misc]
        settings = found.settings(params)
        config = changed(RunConfig(), settings)  # would refuse a foreign parameter
        assert config.optimizer.name == name
        assert ("optimizer.momentum" in settings) == (name != "adam")
        lr = found[f"optimizer.{name}.lr"].domain
        assert isinstance(lr, Range)
        assert lr.to_json() == OPTIMIZERS[name].lr


def test_ones_own_ranges_for_each_optimizer() -> None:
    found = space(
        optimizer__name={"sgd": {"lr": {"low": 0.1, "high": 1}}, "adam": {"betas": [[0.9, 0.99], [0.8, 0.9]]}}
    )
    assert list(domains(found)) == ["optimizer.name", "optimizer.sgd.lr", "optimizer.adam.betas"]
    assert len(list(space(optimizer__name={"sgd": {"lr": [1, 2, 3]}, "adam": None}).points())) == 4


BAD = [
    ("lr=1:0", "low < high must hold, but got low=1, high=0"),
    ("lr=0:1:log", "needs low > 0"),
    ("lr=1e-4:1:lgo", "NAME=LOW:HIGH:log"),
    ("lr=a:b", "two numbers"),
    ("lr=[1,2", "--search lr=[1,2"),
    ("lr", "NAME=LOW:HIGH"),
    ("lr=", "NAME=LOW:HIGH"),
    ("lr=0.1", "nothing to choose"),
    ("lr=0.1,0.1", "listed twice"),
    ("lr=0.1,-1", "greater than 0"),
    ("lr=.inf:1", "two numbers"),
    ("dropuot=0:1", "did you mean dropout?"),
    ("seed=1,2,3", "--seeds K"),
    ("dataset=digits,mnist", "cannot be compared"),
    ("task.name=a,b", "cannot be compared"),
    ("foo.bar=1,2", "there is no such setting"),
    ("momentum=0:1", "less than 1"),
    ("momentum=0:1:log", "needs high < 1"),
    ("batch_size=0:10", "greater than or equal to 1"),
    ("batch_size=1.5:10", "whole number"),
    ("optimizer=sgd,adma", "did you mean adam?"),
    ("optimizer=0:1", "chosen from a list"),
    ("optimizer.betas=0:1", "sgd has no betas"),
    ("model.activation=0:1", "takes no numbers"),
    ("model.activation=relu,rleu", "rleu"),
    ("model.channels=[0],[1]", "model.channels"),
    ("training.device=cpu,cuda", "cannot be searched"),
]


@pytest.mark.parametrize(("word", "says"), BAD, ids=[word for word, _ in BAD])
def test_a_bad_space_is_refused_by_its_name(word: str, says: str) -> None:
    with pytest.raises(BadInput, match=r"search") as error:
        space(word)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "search", [{"optimizer__lr": 0.1}, {"optimizer__lr": {"low": 1}}, {"optimizer__lr": {"low": 1, "high": 2, "by": 1}}]
)
def test_a_bad_space_in_yaml_is_refused(search: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"^search\.optimizer\.lr: .*write \{low"):
        space(**search)


@given(st.floats(0, 1), st.sampled_from([Range(1e-4, 1, log=True), Range(0, 0.99, True, False, True), Range(-2, 3)]))
def test_a_position_in_a_range_and_the_value_there_are_inverse(position: float, domain: Range) -> None:
    assert math.isclose(domain.position(domain.at(position)), position, abs_tol=1e-9)


def test_the_log_scale_of_momentum_is_that_of_its_distance_from_1() -> None:
    domain = space("momentum=0.9:0.999:log").dimensions[0].domain
    assert isinstance(domain, Range)
    assert math.isclose(domain.position(0.99), 0.5)


def test_points_inside_and_containment() -> None:
    found = space("lr=0.01:0.1:log", "batch_size=16,64")
    assert found.inside(flat(RunConfig())) == {"optimizer.lr": 0.05, "data.batch_size": 64}
    assert found.contains({"optimizer.lr": 0.1, "data.batch_size": 16})
    assert not found.contains({"optimizer.lr": 0.2, "data.batch_size": 16})
    assert not found.contains({"optimizer.lr": 0.1})
    assert not found.contains({"optimizer.lr": 0.1, "data.batch_size": 16, "model.dropout": 0.1})


def test_a_space_survives_the_trip_through_plain_data() -> None:
    for found in (space(), space("optimizer=sgd,adam", "momentum=0.5:0.9:log", "batch_size=8:64")):
        assert Space.from_json(found.to_json()) == found
    assert isinstance(space("lr=1,2").dimensions[0].domain, Choices)
