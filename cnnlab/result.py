"""The result of a command, and how values are written in JSON and for people."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any


class Result(dict[str, Any]):
    """The JSON object that a command prints: `result["test_accuracy"]` and `result.test_accuracy` are the same."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no {name} in this result; there are {', '.join(self)}") from None


def strict_json(value: object, indent: int | None = None) -> str:
    """JSON that every program can read: NaN and infinities, which JSON does not have, are null."""
    return json.dumps(_finite(value), allow_nan=False, indent=indent)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def short(value: object) -> str:
    """A value in a few characters: numbers with three significant digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def settings_text(settings: Mapping[str, object]) -> str:
    """Settings (dotted path -> value) as `adam, lr 0.1, no clip_norm`."""
    return ", ".join(_setting_text(path.rpartition(".")[2], value) for path, value in settings.items())


def _setting_text(name: str, value: object) -> str:
    if name == "name":
        return short(value)
    return f"no {name}" if value is None else f"{name} {short(value)}"


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
