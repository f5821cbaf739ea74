"""Keras 3's `fit` on arrays; the backend is KERAS_BACKEND's."""

import time

import keras
import numpy as np
from safetensors.numpy import load_file

from benchmarks.contestants.job import EVALUATED, Job, Outcome, batch_size, main, tensors


def run(job: Job) -> Outcome:
    keras.utils.set_random_seed(job.seed)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(10),
        ]
    )
    _load_weights(model, load_file(job.weights))
    model.compile(
        optimizer=keras.optimizers.SGD(job.lr, momentum=job.momentum),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    train_x, train_y, val_x, val_y = (_as_keras_has_it(tensor.numpy()) for tensor in tensors(job))
    start = time.perf_counter()
    history = model.fit(
        train_x,
        train_y,
        batch_size=batch_size(job),
        epochs=job.epochs,
        validation_data=(val_x, val_y),
        validation_batch_size=EVALUATED,
        verbose=0,
    )
    seconds = time.perf_counter() - start
    return Outcome(seconds, job.epochs * len(train_x), float(history.history["val_accuracy"][-1]))


def _as_keras_has_it(array: np.ndarray) -> np.ndarray:
    """(N, C, H, W) -> (N, H, W, C); labels as they are."""
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if array.ndim == 4 else array


def _load_weights(model: keras.Model, weights: dict[str, np.ndarray]) -> None:
    """PyTorch's layout -> Keras's: kernels (H, W, in, out), and the flattened image in the order H, W, channel."""
    hidden = weights["7.weight"].reshape(128, 32, 7, 7).transpose(0, 2, 3, 1).reshape(128, -1)
    model.set_weights(
        [
            weights["0.weight"].transpose(2, 3, 1, 0),
            weights["0.bias"],
            weights["3.weight"].transpose(2, 3, 1, 0),
            weights["3.bias"],
            hidden.T,
            weights["7.bias"],
            weights["9.weight"].T,
            weights["9.bias"],
        ]
    )


if __name__ == "__main__":
    main(run)
