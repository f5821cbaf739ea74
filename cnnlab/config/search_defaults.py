"""The ranges that are searched where nobody said which, for small convolutional networks.

Our own choice: each optimizer's learning rate runs from too small to too large around PyTorch's default; learning rate
and weight decay are searched on a log scale, momentum on the log scale of 1 - value.
"""

from typing import Any

_DECAY = {"low": 1e-6, "high": 1e-2, "log": True}
_MOMENTUM = {"low": 0.5, "high": 0.99, "log": True}

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"lr": {"low": 1e-3, "high": 1.0, "log": True}, "momentum": _MOMENTUM, "weight_decay": _DECAY},
    "adagrad": {"lr": {"low": 1e-3, "high": 1.0, "log": True}, "weight_decay": _DECAY},
    "adadelta": {"lr": {"low": 1e-2, "high": 10.0, "log": True}, "weight_decay": _DECAY},
    "rmsprop": {"lr": {"low": 1e-5, "high": 1e-2, "log": True}, "weight_decay": _DECAY},
    "adam": {"lr": {"low": 1e-4, "high": 1e-1, "log": True}, "weight_decay": _DECAY},
    "adamw": {"lr": {"low": 1e-4, "high": 1e-1, "log": True}, "weight_decay": {"low": 1e-4, "high": 1.0, "log": True}},
    "nadam": {"lr": {"low": 1e-4, "high": 1e-1, "log": True}, "weight_decay": _DECAY},
    "radam": {"lr": {"low": 1e-4, "high": 1e-1, "log": True}, "weight_decay": _DECAY},
    "muon": {
        "lr": {"low": 3e-4, "high": 3e-1, "log": True},
        "momentum": _MOMENTUM,
        "weight_decay": {"low": 1e-4, "high": 1.0, "log": True},
    },
}
"""Optimizer -> its own settings -> range."""

ANY_OPTIMIZER: dict[str, Any] = {"lr": {"low": 1e-4, "high": 1.0, "log": True}}
"""For a class of torch.optim that is named by itself."""

BATCH_SIZES = (16, 32, 64, 128, 256)
DROPOUT = {"low": 0.0, "high": 0.6}
