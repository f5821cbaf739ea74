"""The networks, one class each. Adding one: a class, an entry, its function in a module of models/, listed there."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cnnlab.config.section import CLASSIFICATION, Entry, Section

Count = Annotated[int, Field(ge=1, le=65536)]
Counts = Annotated[tuple[Count, ...], Field(strict=False)]

Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid", "softplus", "identity"]
Norm = Literal["none", "batch", "layer", "group"]
Init = Literal["default", "he_normal", "he_uniform", "xavier_normal", "xavier_uniform", "orthogonal", "normal", "zeros"]
Pool = Literal["max", "avg", "none"]

Hidden = Annotated[Counts, Field(description="sizes of the fully connected layers before the classes")]
Dropout = Annotated[float, Field(ge=0, lt=1, description="share of activations dropped after each hidden layer")]
InitField = Annotated[Init, Field(description="how the weights start; default is PyTorch's own")]
ActivationField = Annotated[Activation, Field(description="the nonlinearity")]


class ModelConfig(Section):
    """Any of them."""

    name: str


class Perceptron(ModelConfig):
    name: Literal["perceptron"] = "perceptron"
    init: InitField = "default"


class MLP(ModelConfig):
    name: Literal["mlp"] = "mlp"
    hidden: Hidden = (128,)
    activation: ActivationField = "relu"
    init: InitField = "default"
    dropout: Dropout = 0.0


class LeNet5(ModelConfig):
    name: Literal["lenet5"] = "lenet5"
    activation: ActivationField = "tanh"
    pool: Literal["max", "avg"] = Field("avg", description="how a 2x2 window becomes one value")
    init: InitField = "default"


class CNN(ModelConfig):
    name: Literal["cnn"] = "cnn"
    channels: Annotated[Counts, Field(min_length=1)] = Field((16, 32), description="output channels of each block")
    kernel_size: int = Field(3, ge=1, le=4096, description="side of the convolution's window, in pixels")
    stride: int = Field(1, ge=1, le=4096, description="step of the convolution's window, in pixels")
    padding: Literal["same", "valid"] | Annotated[int, Field(ge=0, le=4096)] = Field(
        "same", description="same, valid, or pixels on each side"
    )
    pool: Pool = Field("max", description="how a 2x2 window becomes one value; none keeps the size")
    activation: ActivationField = "relu"
    norm: Norm = Field("none", description="normalisation after each convolution")
    init: InitField = "default"
    hidden: Hidden = (128,)
    dropout: Dropout = 0.0

    @model_validator(mode="after")
    def _same_needs_an_odd_kernel(self) -> "CNN":
        if self.padding == "same" and self.stride > 1 and self.kernel_size % 2 == 0:
            raise ValueError(
                f"padding same with stride {self.stride} needs an odd kernel_size, but it is {self.kernel_size}; "
                "set model.padding to a number of pixels"
            )
        return self


class ResNet20(ModelConfig):
    name: Literal["resnet20"] = "resnet20"
    width: Count = Field(16, description="channels of the first stage; the others have twice and four times as many")
    init: InitField = "default"


class TorchvisionModel(ModelConfig):
    """A classification model of torchvision, with random weights and its first and last layer fitted to the data."""

    name: str = Field(pattern=r"^torchvision/\w+$")


_DROPOUT = {"dropout": {"low": 0.0, "high": 0.6}}

MODELS = {
    "perceptron": Entry(config=Perceptron, tasks=CLASSIFICATION),
    "mlp": Entry(config=MLP, search=_DROPOUT, tasks=CLASSIFICATION),
    "lenet5": Entry(config=LeNet5, tasks=CLASSIFICATION),
    "cnn": Entry(config=CNN, search=_DROPOUT, tasks=CLASSIFICATION),
    "resnet20": Entry(config=ResNet20, tasks=CLASSIFICATION),
    "torchvision/NAME": Entry(
        config=TorchvisionModel, family=lambda name: name.startswith("torchvision/"), tasks=CLASSIFICATION
    ),
}
