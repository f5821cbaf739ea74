"""What the config knows by name is what the rooms can make; a dataset picks its task, a task its model and loss."""

from dataclasses import replace
from inspect import signature
from typing import Any

import pytest

from cnnlab.config import RunConfig, as_config, to_yaml
from cnnlab.config.arms import SHIPPED
from cnnlab.config.data import AUGMENTATIONS, DATASETS, MIXUP, TASKS, DatasetEntry
from cnnlab.config.losses import LOSSES
from cnnlab.config.messages import unknown_kind
from cnnlab.config.models import MODELS
from cnnlab.config.optimizers import OPTIMIZERS
from cnnlab.config.run_config import REGISTRIES
from cnnlab.config.schedules import SCHEDULES, Moment
from cnnlab.config.section import FAMILY, Entry
from cnnlab.config.space_reading import read_space
from cnnlab.errors import BadInput

ITS_MODEL = {"perceptron": {"model": {"name": "perceptron"}}}
"""An optimizer that trains one model only."""


def named(registry: dict[str, Any]) -> list[str]:
    return [name for name in registry if not name.endswith(FAMILY)]


def test_every_name_has_its_builder() -> None:
    from cnnlab import models
    from cnnlab.data import augment
    from cnnlab.lab import claim, measures
    from cnnlab.training.optimizer import CLASSES

    assert set(models.MODELS) == {entry.config for entry in MODELS.values()}
    assert {OPTIMIZERS[name].config.__name__ for name in named(OPTIMIZERS)} <= set(CLASSES)
    assert all(isinstance(entry.config().factor(Moment(0, 10, 5)), float) for entry in SCHEDULES.values())
    assert {*augment.AUGMENTATIONS, MIXUP} == set(AUGMENTATIONS)
    for name in (*claim.MEASURES, *claim.EXACT):
        assert list(signature(getattr(measures, name)).parameters)[1:] == [*filter(None, [claim.NUMBERS.get(name)])]


def test_a_name_that_only_a_library_has_is_suggested_with_its_prefix() -> None:
    import torchvision
    from torch import optim

    from cnnlab.training.optimizer import UNUSABLE

    classes = [name for name, cls in vars(optim).items() if isinstance(cls, type) and issubclass(cls, optim.Optimizer)]
    optimizers = [name for name in classes if name not in UNUSABLE and name.lower() not in OPTIMIZERS]
    networks = [name for name in torchvision.models.list_models(module=torchvision.models) if name not in MODELS]
    assert optimizers
    for section, prefix, names in (("optimizer", "torch.optim.", optimizers), ("model", "torchvision/", networks)):
        for name in names:
            assert unknown_kind("", section, name).endswith(f"; did you mean {prefix}{name}?")


@pytest.mark.parametrize("section", REGISTRIES)
def test_an_entrys_name_is_its_classs(section: str) -> None:
    for name in named(dict(REGISTRIES[section])):
        entry = REGISTRIES[section][name]
        task = entry.tasks[0] if entry.tasks else "classification"
        dataset = next(dataset for dataset, about in DATASETS.items() if about.task == task)
        made = getattr(
            as_config({"data": {"dataset": dataset}, **ITS_MODEL.get(name, {}), section: {"name": name}}), section
        )
        assert made.name == name
        assert type(made) is entry.config


@pytest.mark.parametrize("name", named(OPTIMIZERS))
def test_a_sweep_and_a_comparison_try_the_same_learning_rates(name: str) -> None:
    found = read_space(as_config({"optimizer": {"name": name}, **ITS_MODEL.get(name, {})}))
    lr = found["optimizer.lr"].domain.to_json()
    assert lr == OPTIMIZERS[name].lr
    assert name in SHIPPED
    assert all(arm.tuned(trials=8)["lr"] == lr for arm in SHIPPED.values() if arm.optimizer == name)


def test_each_task_has_its_default_model_and_loss() -> None:
    for name, task in TASKS.items():
        assert name in (MODELS[task.model].tasks or TASKS)
        assert name in (LOSSES[task.loss].tasks or TASKS)
        assert task.optimizer in OPTIMIZERS
    assert {dataset.task for dataset in DATASETS.values()} <= set(TASKS)


def test_the_dataset_says_the_task_and_the_task_the_model_if_nobody_did(monkeypatch: pytest.MonkeyPatch) -> None:
    assert RunConfig().task.name == "classification"
    assert RunConfig().model_fields_set == set(), "what is not said stays unsaid"
    monkeypatch.setitem(TASKS, "classification", replace(TASKS["classification"], model="mlp"))
    assert as_config({}).model.name == "mlp"
    assert as_config({"model": {"hidden": [9]}}).model.model_dump()["hidden"] == (9,)
    assert as_config({"model": {"name": "cnn"}}).model.name == "cnn"
    assert "task: {name: classification, score: null}" in to_yaml(as_config({}))


def test_what_is_for_another_task_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "lenet5", replace(MODELS["lenet5"], tasks=("segmentation",)))
    with pytest.raises(BadInput, match=r"^model.name: 'lenet5' is not for classification; it must be one of percep"):
        as_config({"model": {"name": "lenet5"}})
    monkeypatch.setitem(LOSSES, "cross_entropy", Entry(config=LOSSES["cross_entropy"].config, tasks=("segmentation",)))
    with pytest.raises(BadInput, match=r"^loss.name: 'cross_entropy' is not for classification; it must be one of"):
        as_config({})
    monkeypatch.setitem(DATASETS, "shapes", DatasetEntry(task="segmentation"))
    with pytest.raises(BadInput, match=r"^data.dataset: shapes is for segmentation, but task.name is classification$"):
        as_config({"data": {"dataset": "shapes"}, "task": {"name": "classification"}})
    with pytest.raises(BadInput, match=r"^task.name: 'sorting' is not allowed; it must be 'classification'"):
        as_config({"task": {"name": "sorting"}})
