"""What a command came to: the JSON object that it prints, whose keys are attributes too."""

from typing import Any


class Result(dict[str, Any]):
    """`result["test_accuracy"]` and `result.test_accuracy` are the same."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no {name} in this result; there are {', '.join(self)}") from None
