"""The networks, one class each. Adding one: a class and an entry here, its function in `cnnlab/models/`."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from cnnlab.config.section import CLASSIFICATION, SEGMENTATION, Entry, Section

Count = Annotated[int, Field(ge=1, le=65536)]
Counts = Annotated[tuple[Count, ...], Field(strict=False)]

Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid", "softplus", "step", "identity"]
Norm = Literal["none", "batch", "layer", "group"]
Init = Literal["default", "he_normal", "he_uniform", "xavier_normal", "xavier_uniform", "orthogonal", "normal", "zeros"]
Pool = Literal["max", "avg", "none"]

Hidden = Annotated[Counts, Field(description="sizes of the fully connected layers before the classes")]
Dropout = Annotated[float, Field(ge=0, lt=1, description="share of activations dropped after each hidden layer")]
InitField = Annotated[Init, Field(description="initial weights; default is PyTorch's")]
ActivationField = Annotated[Activation, Field(description="the nonlinearity")]
NormField = Annotated[Norm, Field(description="normalisation after each convolution")]


IMAGENET = "imagenet"
"""The weights that the network's library has."""


class ModelConfig(Section):
    """Any of them."""

    name: str
    weights: str | None = Field(
        None,
        min_length=1,
        description="trained weights to start from: a run, a file (.safetensors, .pth), or imagenet for "
        "torchvision/NAME and timm/NAME",
    )
    freeze: Literal["none", "all"] | Annotated[int, Field(ge=0)] = Field(
        "none", description="the first N blocks are not trained; all: nothing but the last layer is"
    )

    @model_validator(mode="after")
    def _check_weights(self) -> "ModelConfig":
        if self.weights == IMAGENET and not isinstance(self, TorchvisionModel | TimmModel):
            raise ValueError(
                f"weights imagenet is not allowed for {self.name}; it is for torchvision/NAME and timm/NAME; "
                "name a run or a file"
            )
        return self


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
    norm: NormField = "none"
    init: InitField = "default"
    hidden: Hidden = (128,)
    dropout: Dropout = 0.0

    @model_validator(mode="after")
    def _check_padding(self) -> "CNN":
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


class FCN(ModelConfig):
    name: Literal["fcn"] = "fcn"
    channels: Annotated[Counts, Field(min_length=1)] = Field(
        (32, 64, 128), description="output channels of each block; between two blocks the image is halved"
    )
    kernel_size: int = Field(3, ge=1, le=4095, description="side of the convolutions' window, an odd number of pixels")
    skip: bool = Field(True, description="add the scores of every block to those of the last, coarsest one")
    activation: ActivationField = "relu"
    norm: NormField = "batch"
    init: InitField = "default"

    @field_validator("kernel_size")
    @classmethod
    def _check_kernel(cls, side: int) -> int:
        if side % 2 == 0:
            raise ValueError(f"{side} is not allowed; it must be odd, so that the size of the image stays")
        return side


class UNet(ModelConfig):
    name: Literal["unet"] = "unet"
    depth: int = Field(3, ge=1, le=8, description="how often the image is halved; 4 in the paper")
    width: Count = Field(
        16, description="channels at full size, doubled each time the image is halved; 64 in the paper"
    )
    activation: ActivationField = "relu"
    norm: NormField = "batch"
    dropout: Annotated[float, Field(ge=0, lt=1, description="share of activations dropped at the coarsest size")] = 0.0
    init: InitField = "default"


class TorchvisionModel(ModelConfig):
    """A classification model of torchvision, with its first and last layer fitted to the data."""

    name: str = Field(pattern=r"^torchvision/\w+$")


class TimmModel(ModelConfig):
    """A network of timm (the extra timm), with its first and last layer fitted to the data."""

    name: str = Field(pattern=r"^timm/[\w.]+$")


_DROPOUT = {"dropout": {"low": 0.0, "high": 0.6}}
_TORCHVISION = (
    *("alexnet", "convnext", "densenet", "efficientnet", "googlenet", "inception", "maxvit", "mnasnet", "mobilenet"),
    *("regnet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext", "shufflenet", "squeezenet"),
    *("swin", "vgg", "vit", "wide_resnet"),
)

MODELS = {
    "perceptron": Entry(config=Perceptron, tasks=CLASSIFICATION),
    "mlp": Entry(config=MLP, search=_DROPOUT, tasks=CLASSIFICATION),
    "lenet5": Entry(config=LeNet5, tasks=CLASSIFICATION),
    "cnn": Entry(config=CNN, search=_DROPOUT, tasks=CLASSIFICATION),
    "resnet20": Entry(config=ResNet20, tasks=CLASSIFICATION),
    "fcn": Entry(config=FCN, tasks=SEGMENTATION),
    "unet": Entry(config=UNet, tasks=SEGMENTATION),
    "torchvision/NAME": Entry(config=TorchvisionModel, tasks=CLASSIFICATION, members=_TORCHVISION),
    "timm/NAME": Entry(config=TimmModel, tasks=CLASSIFICATION),
}
