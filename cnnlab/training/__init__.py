"""The loop (`fit`) and what it needs: ledger, learner, gradients, ranks, checkpoints."""

from cnnlab.training.checkpoint import below, load_latest, load_weights, weights_digest
from cnnlab.training.fit import CORRECT_FILE, fit, run_started
from cnnlab.training.learner import Learner
from cnnlab.training.ledger import check_identity, identity
from cnnlab.training.network import Network, answered, keep_in_fp32, trained_form
from cnnlab.training.optimizer import make_optimizer
from cnnlab.training.place import out_of_memory, resolve_device, resolve_precision, set_for_training

__all__ = [
    "CORRECT_FILE",
    "Learner",
    "Network",
    "answered",
    "below",
    "check_identity",
    "fit",
    "identity",
    "keep_in_fp32",
    "load_latest",
    "load_weights",
    "make_optimizer",
    "out_of_memory",
    "resolve_device",
    "resolve_precision",
    "run_started",
    "set_for_training",
    "trained_form",
    "weights_digest",
]
