"""Networks of the textbooks: the perceptron, the multilayer perceptron, LeNet-5."""

import math

from torch import nn

from cnnlab.config.models import CNN, MLP, VGG, AlexNet, LeNet5, Perceptron
from cnnlab.models.blocks import ACTIVATIONS, HIDDEN_NORMS, POOLS
from cnnlab.models.sizes import window_output


def perceptron(config: Perceptron, shape: tuple[int, ...], classes: int) -> nn.Module:
    """One weight per pixel and class (Rosenblatt 1958; trained by cross-entropy, it is softmax regression)."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes))


def mlp(config: MLP, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Fully connected layers with an activation and dropout after each hidden one."""
    return nn.Sequential(nn.Flatten(), *fully_connected(math.prod(shape), config.hidden, classes, config))


def fully_connected(
    inputs: int, hidden: tuple[int, ...], classes: int, config: MLP | CNN | AlexNet | VGG
) -> list[nn.Module]:
    """Hidden layers of the given sizes, each with norm, activation and dropout; then the classes' logits."""
    layers: list[nn.Module] = []
    for outputs in hidden:
        layers.append(nn.Linear(inputs, outputs))
        if config.hidden_norm != "none":
            layers.append(HIDDEN_NORMS[config.hidden_norm](outputs))
        layers.append(ACTIVATIONS[config.activation]())
        if config.dropout > 0:
            layers.append(nn.Dropout(config.dropout))
        inputs = outputs
    return [*layers, nn.Linear(inputs, classes)]


def lenet5(config: LeNet5, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """LeNet-5 (LeCun et al. 1998, section II.B), with padding 2 in the first convolution, for 28 pixels."""
    channels, *sides = shape
    sides = [window_output(side, 5, 2, 1, "lenet5's convolution 1") // 2 for side in sides]
    sides = [window_output(side, 5, 0, 1, "lenet5's convolution 2") for side in sides]
    height, width = (window_output(side, 2, 0, 2, "lenet5's pool 2") for side in sides)

    def activation() -> nn.Module:
        return ACTIVATIONS[config.activation]()

    return nn.Sequential(
        *[nn.Conv2d(channels, 6, 5, padding=2), activation(), POOLS[config.pool](2)],
        *[nn.Conv2d(6, 16, 5), activation(), POOLS[config.pool](2)],
        nn.Flatten(),
        *[nn.Linear(16 * height * width, 120), activation()],
        *[nn.Linear(120, 84), activation()],
        nn.Linear(84, classes),
    )
