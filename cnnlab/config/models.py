"""The networks, one class each. Adding one: a class and an entry here, its function in `cnnlab/models/`."""

from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from cnnlab.config.section import CLASSIFICATION, SEGMENTATION, Entry, Ranges, Section

Count = Annotated[int, Field(ge=1, le=65536)]
Counts = Annotated[tuple[Count, ...], Field(strict=False)]

Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid", "softplus", "step", "identity"]
Norm = Literal["none", "batch", "layer", "group"]
Init = Literal["default", "he_normal", "he_uniform", "xavier_normal", "xavier_uniform", "orthogonal", "normal", "zeros"]
Pool = Literal["max", "avg", "none"]


def _odd(side: int) -> int:
    if side % 2 == 0:
        raise ValueError(f"{side} is not allowed; it must be odd, so that the size of the image stays")
    return side


Side = Annotated[int, Field(ge=1, le=4095), AfterValidator(_odd)]
Share = Annotated[float, Field(ge=0, lt=1)]
Hidden = Annotated[Counts, Field(description="sizes of the fully connected layers before the classes")]
Dropout = Annotated[Share, Field(description="share of activations dropped after each hidden layer")]
InitField = Annotated[
    Init, Field(description="initial weights, of those that model.weights does not give; default is PyTorch's")
]
ActivationField = Annotated[Activation, Field(description="the nonlinearity")]
NormField = Annotated[Norm, Field(description="normalisation after each convolution")]
HiddenNorm = Annotated[Norm, Field(description="normalisation after each hidden layer")]
Width = Annotated[Count, Field(description="channels of the first layer, with which the others grow; 64 in the paper")]

SMALL_FORM = "a small form of it for images of up to 64 pixels"

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
    init: InitField = "default"
    init_std: float = Field(0.01, gt=0, allow_inf_nan=False, description="standard deviation of init normal")

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


class MLP(ModelConfig):
    name: Literal["mlp"] = "mlp"
    hidden: Hidden = (128,)
    hidden_norm: HiddenNorm = "none"
    activation: ActivationField = "relu"
    dropout: Dropout = 0.0


class LeNet5(ModelConfig):
    name: Literal["lenet5"] = "lenet5"
    activation: ActivationField = "tanh"
    pool: Literal["max", "avg"] = Field("avg", description="how a 2x2 window becomes one value")


class CNN(ModelConfig):
    name: Literal["cnn"] = "cnn"
    channels: Annotated[Counts, Field(min_length=1)] = Field((16, 32), description="output channels of each block")
    kernel_size: int = Field(3, ge=1, le=4096, description="side of the convolution's window, in pixels")
    stride: int = Field(1, ge=1, le=4096, description="step of the convolution's window, in pixels")
    padding: Literal["same", "valid"] | Annotated[int, Field(ge=0, le=4096)] = Field(
        "same", description="same, valid, or pixels on each side"
    )
    padding_mode: Literal["zeros", "reflect"] = Field(
        "zeros", description="what the padding is filled with; reflect mirrors the image at its outermost pixels"
    )
    dilation: int = Field(
        1,
        ge=1,
        le=4096,
        description="step between the pixels of a window, which spans dilation * (kernel_size - 1) + 1",
    )
    groups: Count = Field(
        1, description="groups of channels that do not see each other, in each convolution but the first"
    )
    pool: Pool = Field("max", description="how a pool's window becomes one value; none keeps the size")
    pool_size: int = Field(2, ge=1, le=4096, description="side of the pool's window, in pixels")
    pool_stride: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        None, description="step of the pool's window, in pixels [default: pool_size]"
    )
    activation: ActivationField = "relu"
    norm: NormField = "none"
    conv_dropout: Share = Field(0.0, description="share of channels dropped after each block")
    global_pool: bool = Field(
        False,
        description="average each channel over the image, in place of the hidden layers; the network then takes images "
        "of any size",
    )
    hidden: Hidden = Field(
        default_factory=lambda settings: () if settings.get("global_pool") else (128,),
        json_schema_extra={"default": [128]},
        description="sizes of the fully connected layers before the classes [default: none with global_pool]",
    )
    hidden_norm: HiddenNorm = "none"
    dropout: Dropout = 0.0

    @property
    def window(self) -> int:
        """Side of what a convolution's window spans, in pixels."""
        return self.dilation * (self.kernel_size - 1) + 1

    @model_validator(mode="after")
    def _check_padding(self) -> "CNN":
        if self.padding == "same" and self.stride > 1 and self.window % 2 == 0:
            raise ValueError(
                f"padding same with stride {self.stride} needs an odd kernel_size, but it is {self.kernel_size}; "
                "set model.padding to a number of pixels"
            )
        return self

    @model_validator(mode="after")
    def _check_groups(self) -> "CNN":
        if len(self.channels) > 1 and (odd := next((n for n in self.channels if n % self.groups), None)):
            raise ValueError(
                f"groups must divide each of the channels, but got groups={self.groups} and channels {odd}"
            )
        return self

    @model_validator(mode="after")
    def _check_global_pool(self) -> "CNN":
        if self.global_pool and self.hidden:
            raise ValueError("global_pool is in place of the hidden layers; set model.hidden=[] or leave it out")
        return self


class CifarResNet(ModelConfig):
    name: Literal["resnet20", "resnet32", "resnet56", "plain20", "plain56"]
    width: Count = Field(16, description="channels of the first stage; the others have twice and four times as many")
    activation: ActivationField = "relu"


class ResNet(ModelConfig):
    name: Literal["resnet18", "resnet34", "resnet50"] = Field(description=SMALL_FORM)
    width: Width = 64
    activation: ActivationField = "relu"


class AlexNet(ModelConfig):
    name: Literal["alexnet"] = Field("alexnet", description=SMALL_FORM)
    width: Width = 64
    activation: ActivationField = "relu"
    hidden_norm: HiddenNorm = "none"
    dropout: Dropout = 0.5


class VGG(ModelConfig):
    name: Literal["vgg11", "vgg13", "vgg16", "vgg19"] = Field(description=SMALL_FORM)
    width: Width = 64
    activation: ActivationField = "relu"
    norm: NormField = "none"
    init: InitField = "he_normal"  # with PyTorch's own, 16 layers without a norm do not begin to learn
    hidden_norm: HiddenNorm = "none"
    dropout: Dropout = 0.5


class Inception(ModelConfig):
    name: Literal["inception"] = Field("inception", description=f"GoogLeNet; {SMALL_FORM}")
    width: Annotated[int, Field(ge=4, le=65536)] | None = Field(
        None, description="channels of the first layer, with which the others grow [default: 64; 16 in the small form]"
    )
    kernel_sizes: tuple[Side, Side, Side] = Field(
        (1, 3, 3), strict=False, description="sides of the windows of a module's three branches; 1, 3, 5 in the paper"
    )
    activation: ActivationField = "relu"
    dropout: Annotated[Share, Field(description="share of features dropped before the classes")] = 0.2


class AllConv(ModelConfig):
    name: Literal["allconv"] = "allconv"
    width: Count = Field(96, description="channels of the first three convolutions; the others have twice as many")
    activation: ActivationField = "relu"
    input_dropout: Share = Field(0.2, description="share of the image's values dropped")
    dropout: Annotated[Share, Field(description="share of activations dropped after each convolution of stride 2")] = (
        0.5
    )


class FCN(ModelConfig):
    name: Literal["fcn"] = "fcn"
    channels: Annotated[Counts, Field(min_length=1)] = Field(
        (32, 64, 128), description="output channels of each block; between two blocks the image is halved"
    )
    kernel_size: Side = Field(3, description="side of the convolutions' window, an odd number of pixels")
    skip: bool = Field(True, description="add the scores of every block to those of the last, coarsest one")
    activation: ActivationField = "relu"
    norm: NormField = "batch"


class UNet(ModelConfig):
    name: Literal["unet"] = "unet"
    depth: int = Field(3, ge=1, le=8, description="how often the image is halved; 4 in the paper")
    width: Count = Field(
        16, description="channels at full size, doubled each time the image is halved; 64 in the paper"
    )
    activation: ActivationField = "relu"
    norm: NormField = "batch"
    dropout: Annotated[Share, Field(description="share of activations dropped at the coarsest size")] = 0.0


class TorchvisionModel(ModelConfig):
    """A classification model of torchvision, with its first and last layer fitted to the data."""

    name: str = Field(pattern=r"^torchvision/\w+$")


class TimmModel(ModelConfig):
    """A network of timm (the extra timm), with its first and last layer fitted to the data."""

    name: str = Field(pattern=r"^timm/[\w.]+$")


_DROPOUT = {"dropout": {"low": 0.0, "high": 0.6}}
_TORCHVISION = (
    *("convnext", "densenet", "efficientnet", "googlenet", "inception_v3", "maxvit", "mnasnet", "mobilenet", "regnet"),
    *("resnet101", "resnet152", "resnext", "shufflenet", "squeezenet", "swin", "vgg", "vit", "wide_resnet"),
)


def _named(kind: type[ModelConfig], search: Ranges | None = None) -> dict[str, Entry]:
    """An entry for each name of a class that has several."""
    names = get_args(kind.model_fields["name"].annotation)
    return {name: Entry(config=kind, search=search or {}, tasks=CLASSIFICATION) for name in names}


MODELS = {
    "perceptron": Entry(config=Perceptron, tasks=CLASSIFICATION),
    "mlp": Entry(config=MLP, search=_DROPOUT, tasks=CLASSIFICATION),
    "lenet5": Entry(config=LeNet5, tasks=CLASSIFICATION),
    "cnn": Entry(config=CNN, search=_DROPOUT, tasks=CLASSIFICATION),
    "allconv": Entry(config=AllConv, search=_DROPOUT, tasks=CLASSIFICATION),
    "alexnet": Entry(config=AlexNet, search=_DROPOUT, tasks=CLASSIFICATION),
    **_named(VGG, _DROPOUT),
    "inception": Entry(config=Inception, search=_DROPOUT, tasks=CLASSIFICATION),
    **_named(ResNet),
    **_named(CifarResNet),
    "fcn": Entry(config=FCN, tasks=SEGMENTATION),
    "unet": Entry(config=UNet, tasks=SEGMENTATION),
    "torchvision/NAME": Entry(config=TorchvisionModel, tasks=CLASSIFICATION, members=_TORCHVISION),
    "timm/NAME": Entry(config=TimmModel, tasks=CLASSIFICATION),
}
