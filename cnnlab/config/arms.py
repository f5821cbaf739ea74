"""The arms of a comparison: what is compared, each with the settings that are tuned for it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from cnnlab.config.messages import no_such_setting, unknown_kind
from cnnlab.config.optimizers import OPTIMIZERS, ArmEntry
from cnnlab.config.reading import as_config, changed, flat, parse_yaml
from cnnlab.config.run_config import QUESTIONS, REGISTRIES, RunConfig, name_in, path_of
from cnnlab.config.section import Ranges, tag_of
from cnnlab.config.space import Choices, Space
from cnnlab.config.space_reading import IMAGES, INCOMPARABLE, read_space
from cnnlab.errors import BadInput, quoted

DEFAULT = ("sgd", "momentum", "adam")
OPTIMIZER = "optimizer"
"""What the arms differ in without --over."""

LR = "optimizer.lr"

BUDGET = ("trials", "seeds", "epochs", "train_size", "training.epochs", "data.train_size", "training.patience")
"""The settings that have to be the same for each arm."""

NOT_COMPARED = {
    **INCOMPARABLE,
    **dict.fromkeys(IMAGES, f"{INCOMPARABLE[IMAGES[0]]}; give a --workload each"),
    "training.seed": "each arm is trained on the same fresh seeds; --seeds K sets their number",
    LR: "the learning rate is tuned for each arm; add --tune none to compare its values",
    "optimizer.name": "without --over optimizers are compared; name them by --optimizers",
}
"""Setting -> why --over does not compare it."""

SECOND_TIER = 10
"""From this number of trials on, a second setting is tuned beside the learning rate."""
THIRD_TIER = 25
"""From this number of trials on, all of an optimizer's settings in its `ArmEntry` are tuned."""


@dataclass(frozen=True)
class Shipped:
    """An optimizer that can be compared by name."""

    optimizer: str
    """Its name in `optimizer.name`."""
    entry: ArmEntry = field(default_factory=ArmEntry)

    def tuned(self, trials: int) -> Ranges:
        """The settings that this number of trials tunes, each with its range or choices."""
        second = self.entry.second if trials >= SECOND_TIER else {}
        third = self.entry.third if trials >= THIRD_TIER else {}
        return {"lr": OPTIMIZERS[tag_of(OPTIMIZERS, self.optimizer)].lr, **second, **third}


SHIPPED = {arm: Shipped(name, entry) for name, kind in OPTIMIZERS.items() for arm, entry in kind.arms.items()}
"""Name of an arm -> its optimizer."""


@dataclass(frozen=True)
class Arm:
    """One of the alternatives that are compared."""

    name: str
    config: RunConfig
    """The experiment with this arm's settings, before tuning."""
    space: Space
    """The settings that are tuned for it."""


def read_arms(
    config: RunConfig, optimizers: str | None, over: str | None, trials: int, *, tuned: bool = True
) -> tuple[str, list[Arm]]:
    """What is compared (`optimizer` or a setting's path) and its arms, two at least.

    Args:
        config: the experiment as written; its `compare` names the arms if the command line does not.
        optimizers: NAME,NAME,...
        over: PATH=VALUE,VALUE,...; PATH is a flag's or a whole dotted path.
        trials: of each arm; it determines how many settings are tuned.
        tuned: whether any setting is.

    Raises:
        BadInput: naming what was asked and what is allowed.
    """
    if over is not None:
        if optimizers is not None:
            raise BadInput("--over and --optimizers are given; keep one")
        path, arms = _over(config, over, tuned)
        return path, arms if tuned else [replace(arm, space=Space(())) for arm in arms]
    if optimizers is not None:
        asked: Any = [name.strip() for name in optimizers.split(",")]
        where = "--optimizers"
    else:
        asked, where = config.compare or list(DEFAULT), "compare"
    named = _named(asked, where)
    if len(named) < 2:
        raise BadInput(f"{where}: {', '.join(named) or 'nothing'} alone cannot be compared; name two or more")
    arms = [_optimizer_arm(config, name, given, trials, where) for name, given in named.items()]
    return OPTIMIZER, arms if tuned else [replace(arm, space=Space(())) for arm in arms]


def contains(general: str, special: str) -> bool:
    """Whether one shipped optimizer has another as a special case, directly or through others."""
    inner = SHIPPED[general].entry.special_case if general in SHIPPED else None
    return inner is not None and (inner == special or contains(inner, special))


def _named(asked: Any, where: str) -> dict[str, Ranges]:
    """Arm -> the settings and ranges that were given for it."""
    named: dict[str, Ranges] = {}
    for name, given in [(str(name), {}) for name in asked] if isinstance(asked, list) else asked.items():
        if given is not None and not isinstance(given, dict):
            raise BadInput(f"{where}.{name}: {quoted(given)} is not a mapping of this optimizer's settings and ranges")
        if not re.fullmatch(r"[a-zA-Z0-9_.-]+", name):
            raise BadInput(f"{where}: {quoted(name)} is not allowed; a name is made of letters, digits, -, _ and .")
        name = name.lower() if name.lower() in SHIPPED else name
        if name in named:
            raise BadInput(f"{where}: {name} is named twice")
        named[name] = given or {}
    return named


def _optimizer_arm(config: RunConfig, name: str, given: Ranges, trials: int, where: str) -> Arm:
    _check_budget(given, f"{where}.{name}.")
    shipped = SHIPPED.get(name) or _by_class(name, given, where)
    ranges = {key: value for key, value in given.items() if _is_domain(key, value)}
    fixed = {key: value for key, value in given.items() if key not in ranges and key != "name"}
    tuned = {key: value for key, value in {**shipped.tuned(trials), **ranges}.items() if key not in fixed}
    if not tuned:
        raise BadInput(f"{where}.{name}: no setting of it is tuned; give it a range, as lr: {{low: 0.001, high: 1}}")
    decay = {"weight_decay"} & config.optimizer.model_fields_set  # the experiment's holds for every arm
    kept = {key: getattr(config.optimizer, key) for key in decay}
    section = {"name": shipped.optimizer, **kept, **shipped.entry.fixed, **fixed}
    values = config.model_dump(mode="json", exclude_unset=True, exclude={*QUESTIONS, "optimizer"})
    arm = as_config({**values, "optimizer": section}, f"{where}.{name}: ")
    search = {f"optimizer.{key}": domain for key, domain in tuned.items()}
    try:
        space = read_space(arm.model_copy(update={"search": search}))
    except BadInput as error:
        raise BadInput(f"{where}.{name}: {error}") from None
    return Arm(name, _moved_inside(arm, space), space)


def _moved_inside(config: RunConfig, space: Space) -> RunConfig:
    """The config in which each tuned setting has the value of its range that is nearest to the config's."""
    settings = flat(config)
    inside = {}
    for dimension in space.dimensions:
        value, domain = settings.get(dimension.path), dimension.domain
        if value not in domain:
            near = domain.nearest(value)
            inside[dimension.path] = domain.values[0] if near is None and isinstance(domain, Choices) else near
    return changed(config, inside) if inside else config


def _by_class(name: str, given: Ranges, where: str) -> Shipped:
    """An optimizer that the user names by its class, or to which the user gives a name."""
    optimizer = name_in("optimizer.name", given.get("name", name))
    if optimizer in SHIPPED:
        return SHIPPED[optimizer]
    if isinstance(optimizer, str) and tag_of(OPTIMIZERS, optimizer) in OPTIMIZERS:
        return Shipped(optimizer)
    raise BadInput(unknown_kind(where, "optimizer", str(optimizer), [*SHIPPED, *OPTIMIZERS]))


def _is_domain(key: str, value: Any) -> bool:
    """Whether it is a range, or choices; choices of a pair of betas are a list of lists."""
    one_pair = key == "betas" and isinstance(value, list) and not any(isinstance(v, list) for v in value)
    return isinstance(value, dict | list) and not one_pair


def _over(config: RunConfig, over: str, tuned: bool) -> tuple[str, list[Arm]]:
    name, equals, text = over.partition("=")
    if not (name and equals and text):
        raise BadInput(f"--over {over}: the form is NAME=VALUE,VALUE, as in model.activation=relu,tanh")
    path = path_of(name)
    _check_budget([path], "--over ")
    if path in NOT_COMPARED and (tuned or path != LR):
        raise BadInput(f"--over {name}: {path} cannot be compared: {NOT_COMPARED[path]}")
    values = name_in(path, parse_yaml(f"[{text}]"))
    if len(values) < 2:
        raise BadInput(f"--over {over}: {text} alone cannot be compared; give two values or more")
    arms: dict[str, Arm] = {}
    for value in values:
        arm = _arm_over(config, path, value)
        if arm.name in arms:
            raise BadInput(f"--over {over}: {arm.name} is named twice")
        arms[arm.name] = arm
    return path, list(arms.values())


def _arm_over(config: RunConfig, path: str, value: Any) -> Arm:
    """The experiment with one setting changed; its learning rate is tuned."""
    section, _, key = path.partition(".")
    if not key or (section not in REGISTRIES and path not in flat(config)):
        raise BadInput(f"--over {path}: {no_such_setting(path)}")
    arm = changed(config, {path: value})
    lr = OPTIMIZERS[tag_of(OPTIMIZERS, arm.optimizer.name)].lr
    label = re.sub(r"[^a-zA-Z0-9_.-]", "-", str(value)).strip("-.") or "empty"
    return Arm(label, arm, read_space(arm.model_copy(update={"search": {"optimizer.lr": lr}})))


def _check_budget(asked: Iterable[str], where: str) -> None:
    for key in asked:
        if key in BUDGET:
            raise BadInput(
                f"{where}{key}: unequal budgets cannot be compared; set it for all, by --trials, --seeds, --epochs or "
                "-s data.train_size=N"
            )
