"""The learning-rate schedules, one class each."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from cnnlab.config.section import Section, by_name


class _Schedule(Section):
    name: str
    warmup_epochs: float = Field(0.0, ge=0, allow_inf_nan=False, description="lr rises linearly over so many epochs")


class Constant(_Schedule):
    name: Literal["constant"] = "constant"


class Step(_Schedule):
    name: Literal["step"] = "step"
    step_epochs: int = Field(5, ge=1, description="epochs between two cuts")
    gamma: float = Field(0.1, gt=0, le=1, description="lr is multiplied by it at each cut")


class Cosine(_Schedule):
    name: Literal["cosine"] = "cosine"
    final_fraction: float = Field(0.0, ge=0, le=1, description="lr at the end, as a share of the peak")


class OneCycle(_Schedule):
    name: Literal["onecycle"] = "onecycle"
    rise_fraction: float = Field(0.3, gt=0, lt=1, description="share of the steps in which lr rises")
    start_divisor: float = Field(25.0, ge=1, description="peak / lr at the start")
    final_divisor: float = Field(1e4, ge=1, description="lr at the start / lr at the end")


NAMED = (Constant, Step, Cosine, OneCycle)

ScheduleConfig = Annotated[
    Annotated[Constant, Tag("constant")]
    | Annotated[Step, Tag("step")]
    | Annotated[Cosine, Tag("cosine")]
    | Annotated[OneCycle, Tag("onecycle")],
    Discriminator(by_name("cosine")),
]
