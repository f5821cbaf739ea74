"""Search spaces: from YAML and flags, checked before anything runs; points, conditions, scales."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.config import RunConfig, changed
from cnnlab.config.optimizers import OPTIMIZERS
from cnnlab.config.space import Choices, Range, Space
from cnnlab.config.space_reading import fit_to_data, read_space
from cnnlab.errors import BadInput


def space(*words: str, only: bool = False, **search: Any) -> Space:
    named = {key.replace("__", "."): value for key, value in search.items()}
    return read_space(RunConfig.model_validate({"search": named or None}), words, only=only)


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
    assert space("batch-size=8:64:log")["data.batch_size"].domain == Range(8, 64, log=True, integer=True)
    assert space("batch-size=010:064", only=True).dimensions[0].domain == Range(10, 64, integer=True)
    assert space("momentum=0.1:0.9")["optimizer.momentum"].domain == Range(0.1, 0.9)


def test_what_is_named_is_added_to_the_defaults_or_takes_the_place_of_one() -> None:
    found = domains(space("batch_size=8,9", "model.activation=relu,tanh"))
    assert list(found) == [*domains(space()), "model.activation"]
    assert found["data.batch_size"] == "8, 9"
    assert domains(space("batch_size=8,9", only=True)) == {"data.batch_size": "8, 9"}
    assert list(domains(space("lr=1,2", data__batch_size=[8, 9]))) == ["data.batch_size", "optimizer.lr"]
    assert list(domains(space("lr=1,2", data__batch_size=[8, 9], only=True))) == ["optimizer.lr"]
    assert read_space(RunConfig(), {"lr": [1, 2]}) == space("lr=1,2"), "as YAML has it, or as words"
    with pytest.raises(BadInput, match=r"^--only searches only what --search names"):
        space(only=True)


def test_a_searched_kind_brings_its_own_ranges_in_place_of_the_experiments() -> None:
    found = domains(space("optimizer=sgd,adam"))
    assert "optimizer.lr" not in found
    assert found["optimizer.adam.lr"] == "0.0001 .. 0.1 (log)"
    assert found["data.batch_size"] == "16, 32, 64, 128, 256"
    assert "model.dropout" in domains(space("model=lenet5,mlp"))
    assert "model.dropout" not in domains(space("model=lenet5,perceptron"))


def test_the_default_batch_sizes_fit_the_data_and_ones_own_do_not() -> None:
    assert domains(fit_to_data(space(), 226))["data.batch_size"] == "16, 32, 64, 128"
    assert "data.batch_size" not in domains(fit_to_data(space(), 31)), "one size is nothing to choose from"
    assert fit_to_data(space("batch_size=16,512"), 226) == space("batch_size=16,512")
    few = read_space(RunConfig.model_validate({"data": {"train_size": 20, "batch_size": 8}}))
    assert "data.batch_size" not in domains(few)
    assert fit_to_data(space(), 226).to_json() == fit_to_data(fit_to_data(space(), 226), 226).to_json()


@pytest.mark.parametrize(
    "words", [("lr=1,2", "lr=3,4"), ("lr=1,2", "optimizer.lr=3,4"), ("batch-size=1,2", "batch_size=3,4")]
)
def test_a_setting_that_is_given_twice_is_refused(words: tuple[str, str]) -> None:
    with pytest.raises(BadInput, match=r"^search\.\S+ \S+ is given twice; give one range or one list for it$"):
        space(*words)
    with pytest.raises(BadInput, match=r"is given twice"):
        space(lr=[1, 2], optimizer__lr=[3, 4])


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
    ("lr=a:b", "a range goes from a number to a number, but got a and b"),
    ("lr=nan:1", "a range goes from a number to a number, but got nan and 1"),
    ("lr=.nan:1", "a range goes from a number to a number, but got nan and 1"),
    (f"lr=1:{'9' * 400}", "a range goes from a number to a number"),
    ("lr=0x1:1", "but got 0x1 and 1"),
    ("lr=1_0:20", "but got 1_0 and 20"),
    ("lr=[1,2", "--search lr=[1,2"),
    ("lr", "NAME=LOW:HIGH"),
    ("lr=", "NAME=LOW:HIGH"),
    ("lr=0.1", "nothing to choose"),
    ("lr=0.1,0.1", "listed twice"),
    ("lr=0.1,-1", "greater than 0"),
    ("lr=.inf:1", "but got inf and 1"),
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
    ("place.device=cpu,cuda", "cannot be searched"),
    ("data.mixup_alpha=0.1:1", "data.mixup_alpha: it has no effect with data.augment []"),
]


def test_a_setting_may_be_searched_together_with_the_one_that_it_needs() -> None:
    found = read_space(RunConfig(), ["model.pool=max,none", "model.pool_size=2,3"], only=True)
    points = [found.settings(point) for point in found.points()]
    assert {"model.pool": "none", "model.pool_size": 3} in points
    assert {changed(RunConfig(), point) for point in points} == {
        changed(RunConfig(), {"model.pool": "none"}),
        *(changed(RunConfig(), {"model.pool": "max", "model.pool_size": size}) for size in (2, 3)),
    }


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
    domain = space("momentum=0.9:0.999:log")["optimizer.momentum"].domain
    assert isinstance(domain, Range)
    assert math.isclose(domain.position(0.99), 0.5)


def test_containment() -> None:
    found = space("lr=0.01:0.1:log", "batch_size=16,64", only=True)
    assert found.contains({"optimizer.lr": 0.1, "data.batch_size": 16})
    assert not found.contains({"optimizer.lr": 0.2, "data.batch_size": 16})
    assert not found.contains({"optimizer.lr": 0.1})
    assert not found.contains({"optimizer.lr": 0.1, "data.batch_size": 16, "model.dropout": 0.1})


def test_a_space_survives_the_trip_through_plain_data() -> None:
    for found in (space(), space("optimizer=sgd,adam", "momentum=0.5:0.9:log", "batch_size=8:64")):
        assert Space.from_json(found.to_json()) == found
    assert isinstance(space("lr=1,2")["optimizer.lr"].domain, Choices)
