"""The loop and what it needs: ledger, driver, learner, gradients, evaluation, checkpoint; `fit` trains one run."""

from cnnlab.training.checkpoint import Checkpoint, load_latest
from cnnlab.training.device import out_of_memory, resolve_device, resolve_precision
from cnnlab.training.fit import fit, run_started
from cnnlab.training.learner import Learner
from cnnlab.training.ledger import check_identity, identity
from cnnlab.training.network import trained_form
from cnnlab.training.process import set_for_training
from cnnlab.training.weights import below, load_weights, weights_digest

__all__ = [
    "Checkpoint",
    "Learner",
    "below",
    "check_identity",
    "fit",
    "identity",
    "load_latest",
    "load_weights",
    "out_of_memory",
    "resolve_device",
    "resolve_precision",
    "run_started",
    "set_for_training",
    "trained_form",
    "weights_digest",
]
