"""cnnlab: experiments with the hyperparameters of convolutional networks."""

__version__ = "0.1.0"
