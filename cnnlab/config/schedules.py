"""The learning-rate schedules, one class each. Adding one: a class, an entry, its function in training/schedule.py."""

from typing import Literal

from pydantic import Field

from cnnlab.config.section import Entry, Section


class ScheduleConfig(Section):
    """Any of them."""

    name: str
    warmup_epochs: float = Field(0.0, ge=0, allow_inf_nan=False, description="lr rises linearly over so many epochs")


class Constant(ScheduleConfig):
    name: Literal["constant"] = "constant"


class Step(ScheduleConfig):
    name: Literal["step"] = "step"
    step_epochs: int = Field(5, ge=1, description="epochs between two cuts")
    gamma: float = Field(0.1, gt=0, le=1, description="lr is multiplied by it at each cut")


class Cosine(ScheduleConfig):
    name: Literal["cosine"] = "cosine"
    final_fraction: float = Field(0.0, ge=0, le=1, description="lr at the end, as a share of the peak")


class OneCycle(ScheduleConfig):
    name: Literal["onecycle"] = "onecycle"
    rise_fraction: float = Field(0.3, gt=0, lt=1, description="share of the steps in which lr rises")
    start_divisor: float = Field(25.0, ge=1, description="peak / lr at the start")
    final_divisor: float = Field(1e4, ge=1, description="lr at the start / lr at the end")


SCHEDULES = {
    "constant": Entry(config=Constant),
    "step": Entry(config=Step),
    "cosine": Entry(config=Cosine),
    "onecycle": Entry(config=OneCycle),
}
