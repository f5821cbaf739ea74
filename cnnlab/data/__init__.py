"""A dataset's name -> training, validation and test tensors, seeded batches, augmentation of a whole batch at once."""

from cnnlab.data.augment import mixup
from cnnlab.data.batches import Batches, placement
from cnnlab.data.cache import cache_damage
from cnnlab.data.dataset import Dataset, Split, describe
from cnnlab.data.load import load
from cnnlab.data.tree import default_root

__all__ = ["Batches", "Dataset", "Split", "cache_damage", "default_root", "describe", "load", "mixup", "placement"]
