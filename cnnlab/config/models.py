"""The networks, one class each, with what can be set of them."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from cnnlab.config.section import Section, by_name

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


class Perceptron(Section):
    name: Literal["perceptron"] = "perceptron"
    init: InitField = "default"


class MLP(Section):
    name: Literal["mlp"] = "mlp"
    hidden: Hidden = (128,)
    activation: ActivationField = "relu"
    init: InitField = "default"
    dropout: Dropout = 0.0


class LeNet5(Section):
    name: Literal["lenet5"] = "lenet5"
    activation: ActivationField = "tanh"
    pool: Literal["max", "avg"] = Field("avg", description="how a 2x2 window becomes one value")
    init: InitField = "default"


class CNN(Section):
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


class ResNet20(Section):
    name: Literal["resnet20"] = "resnet20"
    width: Count = Field(16, description="channels of the first stage; the others have twice and four times as many")
    init: InitField = "default"


class TorchvisionModel(Section):
    """A classification model of torchvision, with random weights and its first and last layer fitted to the data."""

    name: str = Field(pattern=r"^torchvision/\w+$")


NAMED = (Perceptron, MLP, LeNet5, CNN, ResNet20)

ModelConfig = Annotated[
    Annotated[Perceptron, Tag("perceptron")]
    | Annotated[MLP, Tag("mlp")]
    | Annotated[LeNet5, Tag("lenet5")]
    | Annotated[CNN, Tag("cnn")]
    | Annotated[ResNet20, Tag("resnet20")]
    | Annotated[TorchvisionModel, Tag("torchvision/NAME")],
    Discriminator(by_name("cnn", lambda name: "torchvision/NAME" if name.startswith("torchvision/") else name)),
]
