"""cnnlab: experiments with the hyperparameters of convolutional networks.

From Python: `train`, `resume`, `sweep`, `compare` and `load`, each what the command does; `Training`, `Sweep` and
`Comparison` to look on while they work. Importing this imports none of it yet.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnnlab.api import compare, load, resume, sweep, train
    from cnnlab.comparison import Comparison
    from cnnlab.config import RunConfig
    from cnnlab.result import Result
    from cnnlab.search import Sweep
    from cnnlab.work import Training

__version__ = "0.1.0"

__all__ = ["Comparison", "Result", "RunConfig", "Sweep", "Training", "compare", "load", "resume", "sweep", "train"]

_HOME = {
    **dict.fromkeys(("compare", "load", "resume", "sweep", "train"), "cnnlab.api"),
    "Comparison": "cnnlab.comparison",
    "Result": "cnnlab.result",
    "RunConfig": "cnnlab.config",
    "Sweep": "cnnlab.search",
    "Training": "cnnlab.work",
}
"""Name -> the module that has it."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
