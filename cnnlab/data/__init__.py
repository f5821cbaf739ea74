"""A dataset's name -> training, validation and test tensors, seeded batches, augmentation of a whole batch at once."""

from cnnlab.data.batches import Batches, placement
from cnnlab.data.dataset import Dataset, Split
from cnnlab.data.describe import describe
from cnnlab.data.load import load

__all__ = ["Batches", "Dataset", "Split", "describe", "load", "placement"]
