"""The loop and what it needs: ledger, driver, learner, gradients, evaluation, checkpoint; `fit` trains one run."""

from cnnlab.training.checkpoint import Checkpoint, load_latest
from cnnlab.training.device import out_of_memory, resolve_device, resolve_precision
from cnnlab.training.fit import fit
from cnnlab.training.learner import Learner
from cnnlab.training.network import trained_form
from cnnlab.training.process import set_for_training
from cnnlab.training.weights import load_tensors

__all__ = [
    "Checkpoint",
    "Learner",
    "fit",
    "load_latest",
    "load_tensors",
    "out_of_memory",
    "resolve_device",
    "resolve_precision",
    "set_for_training",
    "trained_form",
]
