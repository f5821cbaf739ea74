"""Loss, optimizer, schedule, checkpoint, and `fit`: the loop."""

from cnnlab.training.checkpoint import Checkpoint, load_latest
from cnnlab.training.device import out_of_memory, resolve_device, resolve_precision
from cnnlab.training.fit import fit
from cnnlab.training.learner import Learner, trained_form
from cnnlab.training.threads import usable_threads
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
    "trained_form",
    "usable_threads",
]
