"""A search space from YAML and flags, checked against the bounds of the settings that it searches."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from re import fullmatch
from typing import Any

from pydantic.fields import FieldInfo

from cnnlab.config.data import BATCH_SIZES
from cnnlab.config.messages import no_such_setting, unknown_kind
from cnnlab.config.models import MODELS
from cnnlab.config.optimizers import OPTIMIZERS
from cnnlab.config.reading import changed, flat, lacking, parse_yaml
from cnnlab.config.run_config import (
    NEEDS,
    PLACE,
    REGISTRIES,
    PlaceConfig,
    RunConfig,
    fields_of,
    name_in,
    path_of,
    types_of,
)
from cnnlab.config.section import Ranges, Section, tag_of
from cnnlab.config.space import Choices, Condition, Dimension, Range, Space, is_finite
from cnnlab.errors import BadInput, quoted, shortened

IMAGES = ("data.dataset", "data.root")
INCOMPARABLE = {
    "task.name": "scores of different tasks cannot be compared",
    "task.score": "different scores cannot be compared",
    **dict.fromkeys(IMAGES, "scores on different images cannot be compared"),
    "data.val_fraction": "scores on different validation splits cannot be compared",
    **{f"{PLACE}.{key}": "it says where a run happens, not what it is" for key in PlaceConfig.model_fields},
}
"""Setting -> why runs with different values of it are not compared."""
NOT_SEARCHED = {
    **INCOMPARABLE,
    "name": "it is a name for people",
    "training.seed": "the best of many seeds is luck; --seeds K takes the mean over K",
}
"""Setting -> why it is not searched."""

BATCH_SIZE = "data.batch_size"
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
WRITE = "write {low: 0.001, high: 1, log: true} or a list of choices"


def read_space(
    config: RunConfig, search: Mapping[str, Any] | Sequence[str] = (), *, only: bool = False, offer: bool = True
) -> Space:
    """The space: `search` over `config.search`, or over the default ranges if the config has no `search`.

    Args:
        config: the experiment as written; each range and choice has to be allowed in it.
        search: a name -> a range or choices, as in YAML; or words, each NAME=LOW:HIGH, NAME=LOW:HIGH:log or
            NAME=VALUE,VALUE,.... A name is a flag's or a whole dotted path.
        only: search only what `search` names.
        offer: whether the default ranges are added to what is named.

    Raises:
        BadInput: naming the setting, what was asked and what is allowed.
    """
    named = _by_path(search.items()) if isinstance(search, Mapping) else _by_path(map(_read_word, search))
    if only and not named:
        raise BadInput("--only searches only what --search names, and there is no --search; add --search NAME=RANGE")
    written = {} if only else _by_path((config.search or {}).items())
    default = _default(config, named) if not written and not only and (offer or not named) else {}
    space = Space(tuple(_ordered(config, {**default, **written, **named}, set(default) - set(named))))
    for _ in corners(config, space):  # each has to be allowed
        pass
    searched, settings = {dimension.path for dimension in space.dimensions}, flat(config)
    for path in searched:
        if (why := lacking(path, settings)) and not searched & {NEEDS[path][0], "model.name"}:
            raise BadInput(f"search.{path}: it has no effect with {why}; leave it out or change {NEEDS[path][0]}")
    return space


def fit_to_data(space: Space, images: int) -> Space:
    """The space without the default batch sizes that are larger than a training split of `images` images."""
    fitting = []
    for dimension in space.dimensions:
        if dimension.offered and dimension.path == BATCH_SIZE and isinstance(dimension.domain, Choices):
            sizes = tuple(size for size in dimension.domain.values if size <= images)
            if len(sizes) > 1:
                fitting.append(replace(dimension, domain=Choices(sizes)))
        else:
            fitting.append(dimension)
    return Space(tuple(fitting))


def corners(config: RunConfig, space: Space) -> Iterator[tuple[Dimension, Any, RunConfig]]:
    """The experiment with each end of each range and each choice, one at a time.

    Raises:
        BadInput: one of them is not allowed.
    """
    for dimension in space.dimensions:
        domain = dimension.domain
        for value in domain.values if isinstance(domain, Choices) else (domain.low, domain.high):
            for kind in dimension.only.values if dimension.only else (None,):
                settings = {dimension.only.path: kind} if dimension.only else {}
                try:
                    yield dimension, value, changed(config, {**settings, dimension.path: value})
                except BadInput as error:
                    raise BadInput(f"search: {error}") from None


def _by_path(asked: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Dotted path -> domain."""
    domains: dict[str, Any] = {}
    for name, domain in asked:
        path = _path(name)
        if path in domains:
            raise BadInput(f"search.{name}: {path} is given twice; give one range or one list for it")
        if isinstance(domain, dict):  # a range, or names that have ranges
            keys = _distinct(path, [name_in(path, key) for key in domain])
            domains[path] = dict(zip(keys, domain.values(), strict=True))
        else:
            domains[path] = name_in(path, domain)
    return domains


def _read_word(word: str) -> tuple[str, Any]:
    """The name and the domain in a word of --search; the domain is as YAML would have it."""
    name, equals, text = word.partition("=")
    parts = text.split(":")
    how = f"--search {shortened(word)}: a range is NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=VALUE,VALUE"
    if not (name and equals and text) or len(parts) > 3 or parts[2:] not in ([], ["log"]):
        raise BadInput(how)
    if span := fullmatch(f"({NUMBER})-({NUMBER})", text):
        low, high = span.groups()
        raise BadInput(f"{how}; did you mean {name}={low}:{high}{':log' * (0 < 10 * float(low) <= float(high))}?")
    try:
        if len(parts) == 1:
            return name, parse_yaml(f"[{text}]")
        return name, {"low": parse_yaml(parts[0]), "high": parse_yaml(parts[1]), "log": len(parts) == 3}
    except BadInput as error:
        raise BadInput(f"--search {shortened(word)}: {error}") from None


def _path(name: str) -> str:
    """The dotted path of a setting or of a flag's name. Raises BadInput if it cannot be searched."""
    path = path_of(name)
    if path in NOT_SEARCHED:
        raise BadInput(f"search.{name}: {path} cannot be searched: {NOT_SEARCHED[path]}")
    section, _, key = path.partition(".")
    if fields_of(path) or (section == "optimizer" and key):
        return path  # perhaps a parameter of a class of torch.optim; the check of the bounds asks the class
    raise BadInput(f"search.{name}: {no_such_setting(name)}")


def _ordered(config: RunConfig, asked: dict[str, Any], offered: set[str]) -> Iterator[Dimension]:
    """The dimensions; `optimizer.name` and its like come before the other settings of their section.

    Args:
        offered: those of `asked` that are defaults.
    """
    asked = dict(asked)
    for section in REGISTRIES:
        if f"{section}.name" in asked:
            yield from _section(section, asked)
    for path, domain in asked.items():
        section, _, key = path.partition(".")
        kinds = {getattr(config, section).name: type(getattr(config, section))} if section in REGISTRIES else {}
        _check_some_kind_has(path, key, kinds)
        yield Dimension(path, path, _domain(path, domain), offered=path in offered)


def _section(section: str, asked: dict[str, Any]) -> Iterator[Dimension]:
    """`optimizer.name` with the ranges of each optimizer, and the section's other settings if an optimizer has them.

    They are taken out of `asked`.
    """
    path = f"{section}.name"
    given = asked.pop(path)
    if not isinstance(given, list | dict) or "low" in given:
        raise BadInput(f"search.{path}: a name is chosen from a list, as in {path}: [sgd, adam]")
    names = _choices(path, list(given))
    kinds = {name: _kind(section, name) for name in names.values}
    yield Dimension(path, path, names)
    shared = {key: asked.pop(key) for key in list(asked) if key.startswith(f"{section}.")}
    for setting, domain in shared.items():
        key = setting.partition(".")[2]
        _check_some_kind_has(setting, key, kinds)
        have = tuple(name for name, kind in kinds.items() if _has(kind, key))
        yield Dimension(setting, setting, _domain(setting, domain), Condition(path, have))
    for name, kind in kinds.items():
        default = ranges_of(name) if section == "optimizer" else {}
        ranges = given[name] or {} if isinstance(given, dict) else default
        if not isinstance(ranges, dict):
            raise BadInput(f"search.{path}.{name}: {quoted(ranges)} is not a mapping of this {section}'s ranges")
        for key, domain in ranges.items():
            setting = f"{section}.{key}"
            if setting not in shared:
                _check_some_kind_has(setting, key, {name: kind})
                yield Dimension(f"{section}.{name}.{key}", setting, _domain(setting, domain), Condition(path, (name,)))


def ranges_of(optimizer: str) -> Ranges:
    """The default ranges of an optimizer."""
    entry = OPTIMIZERS[tag_of(OPTIMIZERS, optimizer)]
    return {"lr": entry.lr, **entry.search}


def _kind(section: str, name: Any) -> type[Section]:
    kinds = REGISTRIES[section]
    if isinstance(name, str) and tag_of(kinds, name) in kinds:
        return kinds[tag_of(kinds, name)].config
    raise BadInput(unknown_kind(f"search.{section}.name", section, str(name)))


def _has(kind: type[Section], key: str) -> bool:
    return key in kind.model_fields or kind.model_config.get("extra") == "allow"


def _check_some_kind_has(path: str, key: str, kinds: dict[str, type[Section]]) -> None:
    if kinds and not any(_has(kind, key) for kind in kinds.values()):
        raise BadInput(f"search.{path}: {' and '.join(kinds)} {'have' if len(kinds) > 1 else 'has'} no {key}")


def _domain(path: str, asked: Any) -> Range | Choices:
    if isinstance(asked, list):
        return _choices(path, asked)
    if isinstance(asked, dict):
        return _range(path, asked)
    raise BadInput(f"search.{path}: {quoted(asked)} is neither a range nor a list; {WRITE}")


def _choices(path: str, asked: list[Any]) -> Choices:
    if len(asked) < 2:
        raise BadInput(f"search.{path}: {asked} leaves nothing to choose; give two values at least, or set it with -s")
    return Choices(tuple(_distinct(path, asked)))


def _distinct(path: str, asked: list[Any]) -> list[Any]:
    repeated = [value for index, value in enumerate(asked) if value in asked[:index]]
    if repeated:
        raise BadInput(f"search.{path}: {quoted(repeated[0])} is listed twice")
    return asked


def _range(path: str, asked: dict[str, Any]) -> Range:
    if unknown := set(asked) - {"low", "high", "log"}:
        raise BadInput(f"search.{path}: {sorted(unknown)[0]} is not part of a range; {WRITE}")
    low, high, log = asked.get("low"), asked.get("high"), asked.get("log", False)
    if not (is_finite(low) and is_finite(high) and isinstance(log, bool)):
        raise BadInput(f"search.{path}: a range goes from a number to a number, but got {low} and {high}; {WRITE}")
    if not low < high:
        raise BadInput(f"search.{path}: low < high must hold, but got low={low:g}, high={high:g}")
    field = next(iter(fields_of(path)), FieldInfo(annotation=float))  # float: of a class of torch.optim
    complement = log and isinstance(field.json_schema_extra, dict) and "log_scale" in field.json_schema_extra
    if log and not complement and low <= 0:
        raise BadInput(f"search.{path}: a log scale needs low > 0, but got low={low:g}")
    if complement and high >= 1:
        raise BadInput(f"search.{path}: the log scale of 1 - value needs high < 1, but got high={high:g}")
    types = types_of(field)
    if float in types:
        return Range(float(low), float(high), log, complement=complement)
    if int not in types:
        raise BadInput(f"search.{path}: it takes no numbers; give a list of choices")
    if low != int(low) or high != int(high):
        raise BadInput(f"search.{path}: it is a whole number, but got low={low:g}, high={high:g}")
    return Range(int(low), int(high), log, integer=True)


def _default(config: RunConfig, named: Mapping[str, Any]) -> Ranges:
    """The default ranges beside `named`: those of the optimizer's entry, batch size, and those of the model's entry.

    If the optimizer is searched, `_section` adds the ranges of each; if the model is, the ranges of all are added.
    """
    optimizer = {} if "optimizer.name" in named else ranges_of(config.optimizer.name)
    asked: Ranges = {f"optimizer.{key}": domain for key, domain in optimizer.items()}
    largest = config.data.train_size or max(BATCH_SIZES)
    sizes = [size for size in BATCH_SIZES if size <= largest]
    if len(sizes) > 1:
        asked[BATCH_SIZE] = sizes
    names = named.get("model.name", [config.model.name])
    tags = [tag_of(MODELS, str(name)) for name in names] if isinstance(names, list | dict) else []
    ranges = {key: domain for tag in tags if tag in MODELS for key, domain in MODELS[tag].search.items()}
    if "model.name" not in named and not getattr(config.model, "hidden", True):
        ranges.pop("dropout", None)  # without hidden layers it has no effect
    return asked | {f"model.{key}": domain for key, domain in ranges.items()}
