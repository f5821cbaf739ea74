"""A model's config -> a plain `nn.Module`. To add one: a class in `cnnlab.config.models`, a function, an entry here."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from cnnlab.config.models import (
    CNN,
    FCN,
    MLP,
    VGG,
    AlexNet,
    AllConv,
    CifarResNet,
    Inception,
    LeNet5,
    ModelConfig,
    Perceptron,
    ResNet,
    TimmModel,
    TorchvisionModel,
    UNet,
)
from cnnlab.models.blocks import Normalize, initialise
from cnnlab.models.classic import lenet5, mlp, perceptron
from cnnlab.models.cnn import cnn
from cnnlab.models.fcn import fcn
from cnnlab.models.imagenet import imagenet_file, imagenet_statistics
from cnnlab.models.inception import inception
from cnnlab.models.resnet import cifar_resnet, resnet
from cnnlab.models.sizes import SizedLayer, sized_layers
from cnnlab.models.stacks import alexnet, allconv, vgg
from cnnlab.models.timm_model import timm_model
from cnnlab.models.torchvision_model import torchvision_model
from cnnlab.models.unet import unet
from cnnlab.seeds import drawing

__all__ = ["MODELS", "Normalize", "SizedLayer", "build", "imagenet_file", "imagenet_statistics", "sized_layers"]

MODELS: dict[type, Callable[[Any, Any, int], nn.Module]] = {
    Perceptron: perceptron,
    MLP: mlp,
    LeNet5: lenet5,
    CNN: cnn,
    AllConv: allconv,
    AlexNet: alexnet,
    VGG: vgg,
    Inception: inception,
    ResNet: resnet,
    CifarResNet: cifar_resnet,
    FCN: fcn,
    UNet: unet,
    TorchvisionModel: torchvision_model,
    TimmModel: timm_model,
}


def build(config: ModelConfig, shape: tuple[int, ...], outputs: int, seed: int) -> nn.Module:
    """The network for images of `shape` (C, H, W), or points (2,).

    Its output is (N, outputs) or (N, outputs, H, W), by its task. The same config, shape, outputs and seed give the
    same weights.

    Raises:
        BadInput: a layer would have an empty output, or the library has no such network.
    """
    with drawing(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MODELS[type(config)](config, shape, outputs)
        initialise(model, config.init, config.init_std)
    return model
