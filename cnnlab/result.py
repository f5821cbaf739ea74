"""What a command came to: the JSON object that it prints, whose keys are attributes too."""

import json
import math
from typing import Any


class Result(dict[str, Any]):
    """`result["test_accuracy"]` and `result.test_accuracy` are the same."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no {name} in this result; there are {', '.join(self)}") from None


def strict_json(value: object, indent: int | None = None) -> str:
    """As JSON that any program reads: NaN and infinities, which JSON has no words for, are null."""
    return json.dumps(_finite(value), allow_nan=False, indent=indent)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
