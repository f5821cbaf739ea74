"""The arms of a comparison: what is compared, each with the settings that are tuned for it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cnnlab.config.messages import no_such_setting, unknown_kind
from cnnlab.config.optimizers import OPTIMIZERS, ArmEntry
from cnnlab.config.reading import as_config, changed, flat
from cnnlab.config.run_config import QUESTIONS, REGISTRIES, RunConfig, is_place, name_in, path_of
from cnnlab.config.section import Ranges, tag_of
from cnnlab.config.space import Choices, Space
from cnnlab.config.space_reading import read_space
from cnnlab.config.yaml_file import parse_yaml
from cnnlab.errors import BadInput, quoted

DEFAULT = ("sgd", "momentum", "adam")
OPTIMIZER = "optimizer"
"""The question if --over asks no other."""

BUDGET = ("trials", "seeds", "epochs", "train_size", "training.epochs", "data.train_size", "training.patience")
"""The settings that have to be the same for each arm."""

NOT_COMPARED = {
    "task.name": "scores of different tasks cannot be compared",
    "task.score": "different scores cannot be compared",
    "data.dataset": "scores on different images cannot be compared; give a --workload each",
    "data.root": "scores on different images cannot be compared; give a --workload each",
    "data.val_fraction": "scores on different splits cannot be compared",
    "training.seed": "each arm is trained on the same fresh seeds; --seeds K says how many",
    "optimizer.lr": "the learning rate is tuned for each arm; cnnlab sweep searches it",
    "optimizer.name": "it is what is compared without --over; name the optimizers by --optimizers",
}
"""Setting -> why --over cannot ask for it."""

SECOND_TIER = 10
"""From this number of trials on, a second setting is tuned beside the learning rate."""
THIRD_TIER = 25
"""From this number of trials on, all of an optimizer's own settings are tuned."""


@dataclass(frozen=True)
class Shipped:
    """An optimizer that can be compared by name."""

    optimizer: str
    """Its name in `optimizer.name`."""
    own: ArmEntry = field(default_factory=ArmEntry)

    def tuned(self, trials: int) -> Ranges:
        """The settings of it that this number of trials tunes, each with its range or choices."""
        second = self.own.second if trials >= SECOND_TIER else {}
        third = self.own.third if trials >= THIRD_TIER else {}
        return {"lr": OPTIMIZERS[tag_of(OPTIMIZERS, self.optimizer)].lr, **second, **third}


SHIPPED = {arm: Shipped(name, own) for name, entry in OPTIMIZERS.items() for arm, own in entry.arms.items()}
"""Name of an arm -> what it is."""


@dataclass(frozen=True)
class Arm:
    """One of what is compared."""

    name: str
    config: RunConfig
    """The experiment with this arm's settings, before anything is tuned."""
    space: Space
    """The settings that are tuned for it."""


def read_arms(config: RunConfig, optimizers: str | None, over: str | None, trials: int) -> tuple[str, list[Arm]]:
    """The question and its arms, two at least.

    Args:
        config: the experiment as written; its `compare` says what is compared if the command line does not.
        optimizers: NAME,NAME,...
        over: PATH=VALUE,VALUE,...; PATH is a flag's or a whole dotted path.
        trials: for each arm; says how many of its settings are tuned.

    Raises:
        BadInput: naming what was asked and what is allowed.
    """
    if over is not None:
        if optimizers is not None:
            raise BadInput("--over and --optimizers are two questions; ask one")
        return _over(config, over)
    if optimizers is not None:
        asked: Any = [name.strip() for name in optimizers.split(",")]
        where = "--optimizers"
    else:
        asked, where = config.compare or list(DEFAULT), "compare"
    named = _named(asked, where)
    if len(named) < 2:
        raise BadInput(f"{where}: {', '.join(named) or 'nothing'} alone cannot be compared; name two or more")
    return OPTIMIZER, [_optimizer_arm(config, name, own, trials, where) for name, own in named.items()]


def contains(general: str, special: str) -> bool:
    """Whether one shipped optimizer has another as a special case, directly or through others."""
    inner = SHIPPED[general].own.special_case if general in SHIPPED else None
    return inner is not None and (inner == special or contains(inner, special))


def _named(asked: Any, where: str) -> dict[str, Ranges]:
    """Arm -> the settings and ranges that were given for it."""
    given = [(str(name), {}) for name in asked] if isinstance(asked, list) else asked.items()
    named: dict[str, Ranges] = {}
    for name, own in given:
        if own is not None and not isinstance(own, dict):
            raise BadInput(f"{where}.{name}: {quoted(own)} is not a mapping of this optimizer's settings and ranges")
        if not re.fullmatch(r"[a-zA-Z0-9_.-]+", name):
            raise BadInput(f"{where}: {quoted(name)} is not allowed; a name is made of letters, digits, -, _ and .")
        name = name.lower() if name.lower() in SHIPPED else name
        if name in named:
            raise BadInput(f"{where}: {name} is named twice")
        named[name] = own or {}
    return named


def _optimizer_arm(config: RunConfig, name: str, own: Ranges, trials: int, where: str) -> Arm:
    _same_budget(own, f"{where}.{name}.")
    shipped = SHIPPED.get(name) or _by_class(name, own, where)
    own_ranges = {key: value for key, value in own.items() if _is_domain(key, value)}
    fixed = {key: value for key, value in own.items() if key not in own_ranges and key != "name"}
    ranges = {key: value for key, value in {**shipped.tuned(trials), **own_ranges}.items() if key not in fixed}
    if not ranges:
        raise BadInput(f"{where}.{name}: nothing of it is tuned; give it a range, as lr: {{low: 0.001, high: 1}}")
    section = {"name": shipped.optimizer, **_kept(config), **shipped.own.fixed, **fixed}
    values = config.model_dump(mode="json", exclude_unset=True, exclude={*QUESTIONS, "optimizer"})
    arm = as_config({**values, "optimizer": section}, f"{where}.{name}: ")
    space = _space(arm, {f"optimizer.{key}": domain for key, domain in ranges.items()}, where, name)
    return Arm(name, _brought_inside(arm, space), space)


def _brought_inside(config: RunConfig, space: Space) -> RunConfig:
    """The config with each tuned setting moved into its range: the value nearest to what it was."""
    settings = flat(config)
    moved = {}
    for dimension in space.dimensions:
        value, domain = settings.get(dimension.path), dimension.domain
        if value not in domain:
            near = domain.nearest(value)
            moved[dimension.path] = domain.values[0] if near is None and isinstance(domain, Choices) else near
    return changed(config, moved) if moved else config


def _space(config: RunConfig, ranges: Ranges, where: str, name: str) -> Space:
    try:
        return read_space(config.model_copy(update={"search": ranges}))
    except BadInput as error:
        raise BadInput(f"{where}.{name}: {error}") from None


def _by_class(name: str, own: Ranges, where: str) -> Shipped:
    """An optimizer that the user names by its class, or under a name of the user's own."""
    optimizer = name_in("optimizer.name", own.get("name", name))
    if optimizer in SHIPPED:
        return SHIPPED[optimizer]
    if isinstance(optimizer, str) and tag_of(OPTIMIZERS, optimizer) in OPTIMIZERS:
        return Shipped(optimizer)
    raise BadInput(unknown_kind(where, "optimizer", str(optimizer), [*SHIPPED, *OPTIMIZERS]))


def _kept(config: RunConfig) -> Ranges:
    """The settings of the experiment's own optimizer that hold for every arm."""
    return {
        key: getattr(config.optimizer, key) for key in ("weight_decay",) if key in config.optimizer.model_fields_set
    }


def _is_domain(key: str, value: Any) -> bool:
    """Whether it is a range, or choices; choices of a pair of betas are a list of lists."""
    one_pair = key == "betas" and isinstance(value, list) and not any(isinstance(v, list) for v in value)
    return isinstance(value, dict | list) and not one_pair


def _over(config: RunConfig, over: str) -> tuple[str, list[Arm]]:
    name, equals, text = over.partition("=")
    if not (name and equals and text):
        raise BadInput(f"--over {over}: a question is NAME=VALUE,VALUE, as in model.activation=relu,tanh")
    path = path_of(name)
    _same_budget({path: None}, "--over ")
    if is_place(path):
        raise BadInput(f"--over {name}: {path} cannot be compared: it is where a network is trained, not what it is")
    if path in NOT_COMPARED:
        raise BadInput(f"--over {name}: {path} cannot be compared: {NOT_COMPARED[path]}")
    values = name_in(path, parse_yaml(f"[{text}]"))
    if len(values) < 2:
        raise BadInput(f"--over {over}: {text} alone cannot be compared; give two values or more")
    arms = [_arm_over(config, path, value) for value in values]
    if repeated := [arm.name for index, arm in enumerate(arms) if arm.name in [a.name for a in arms[:index]]]:
        raise BadInput(f"--over {over}: {repeated[0]} is named twice")
    return path, arms


def _arm_over(config: RunConfig, path: str, value: Any) -> Arm:
    """The experiment with one setting of it changed; its learning rate is tuned."""
    section, _, key = path.partition(".")
    if not key or (section not in REGISTRIES and path not in flat(config)):
        raise BadInput(f"--over {path}: {no_such_setting(path)}")
    arm = changed(config, {path: value})
    lr = Shipped(arm.optimizer.name).tuned(trials=0)["lr"]
    label = re.sub(r"[^a-zA-Z0-9_.-]", "-", str(value)).strip("-.") or "empty"
    return Arm(label, arm, read_space(arm.model_copy(update={"search": {"optimizer.lr": lr}})))


def _same_budget(asked: Mapping[str, Any], where: str) -> None:
    for key in asked:
        if key in BUDGET:
            raise BadInput(
                f"{where}{key}: unequal budgets cannot be compared; set it for all, by --trials, --seeds, --epochs or "
                "-s data.train_size=N"
            )
