"""The options of `sweep` and `compare`: each with its help, default, type and bounds. They are no settings of a run.

The command line has a flag for each field; Python takes each field as a keyword.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from cnnlab.config.arms import DEFAULT, SHIPPED
from cnnlab.config.messages import explain, nearest
from cnnlab.config.section import Section
from cnnlab.errors import BadInput, quoted, shortened

DEFAULT_TRIALS = 20
DEFAULT_SAMPLER: Literal["tpe"] = "tpe"


def _check_study(name: str) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9_-]{1,200}", name):  # it is the name of a folder too
        raise ValueError(f"{quoted(name)} is not allowed; a name is made of up to 200 letters, digits, - and _")
    return name


def _check_equal(number: Any) -> Any:
    if isinstance(number, Mapping) or (isinstance(number, str) and re.search("[=,]", number)):
        raise ValueError(f"{quoted(number)}: unequal budgets cannot be compared; give one number for all")
    return number


def _text(form: str, description: str) -> Any:
    """Optional text; the help shows `form` in its place."""
    return Field(None, description=description, json_schema_extra={"form": form})


LOWER = BeforeValidator(lambda name: name.lower() if isinstance(name, str) else name)
Sampler: TypeAlias = Annotated[Literal["tpe", "random", "qmc", "gp", "cmaes", "grid"], LOWER]
Pruner: TypeAlias = Annotated[Literal["none", "median", "asha", "hyperband", "patient"], LOWER]
Count: TypeAlias = Annotated[int, Field(ge=1, le=1_000_000)]


class Design(NamedTuple):
    """The size of a comparison, for each arm."""

    tunings: int
    trials: int
    """Of each tuning."""
    seeds: int
    """On which the winner of each tuning is trained again."""

    @property
    def words(self) -> str:
        seeds = f"{self.seeds} fresh seed{'s' * (self.seeds > 1)}"
        return f"{self.tunings} tunings of {self.trials} trials, each winner trained again on {seeds}"


DESIGNS = {"quick": Design(5, 4, 1), "default": Design(10, 6, 1), "thorough": Design(16, 16, 2)}
"""Chosen by `benchmarks/honesty.py --only designs`."""
LEAST_TUNINGS = 3
"""With fewer, a comparison is about settings, and seeds are its sample."""
SEEDS_OF_ONE_TUNING = 10


class RecordOptions(Section):
    experiment_name: str | None = _text("NAME", "MLflow's experiment. [default: $MLFLOW_EXPERIMENT_NAME or cnnlab]")
    tracking_uri: str | None = _text(
        "URI",
        "MLflow's store, or none to deliver nothing until a sync. [default: $MLFLOW_TRACKING_URI or mlruns/mlflow.db]",
    )


class WorkerOptions(RecordOptions):
    workers: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = Field(
        "auto", description="Processes that train; auto is one per GPU, or one per core without a GPU."
    )

    @property
    def worker_count(self) -> int | None:
        """None for auto."""
        return None if self.workers == "auto" else self.workers


class StudyOptions(WorkerOptions):
    study: Annotated[str, AfterValidator(_check_study)] | None = _text(
        "NAME", "Join or continue this study. [default: made from the experiment]"
    )
    storage: str | None = _text("URL", "A database that machines share, or a file. [default: mlruns/studies/STUDY]")


class SweepOptions(StudyOptions):
    only: bool = Field(False, description="Search only what --search names.")
    trials: Count | None = Field(
        None, description=f"Number of trials in all. [default: {DEFAULT_TRIALS}; for a grid all points]"
    )
    sampler: Sampler | None = Field(
        None,
        description=f"Draws the trials. [default: {DEFAULT_SAMPLER}; grid if the space has no more points than trials]",
    )
    pruner: Pruner = Field("asha", description="Ends bad trials early.")
    seeds: Count = Field(1, description="Each trial is the mean over this number of seeds.")
    confirm: Annotated[int, Field(ge=0, le=1000)] = Field(
        1,
        description="Train this number of the best trials again on fresh seeds, and the experiment as written with "
        "them; 0 for none.",
    )
    confirm_seeds: Count = Field(3, description="Number of fresh seeds.")
    retries: int = Field(2, ge=0, le=100, description="How often a trial that crashed is tried again.")
    extend: str | None = _text("OLD", "Begin with the trials of this study that lie inside the new space.")
    timeout: float | None = Field(None, gt=0, allow_inf_nan=False, description="Stop after this number of seconds.")


class CompareOptions(StudyOptions):
    optimizers: str | Sequence[str] | dict[str, Any] | None = _text(
        "A,B,...",
        f"Which: {', '.join(SHIPPED)}, torch.optim.NAME. "
        f"[default: `compare:` of the experiment, or {','.join(DEFAULT)}]",
    )
    over: str | dict[str, Sequence[Any]] | None = _text(
        "NAME=A,B,...",
        "Compare the values of this setting instead, the learning rate tuned for each: model.activation=relu,tanh",
    )
    tune: Literal["default", "none"] = Field(
        "default", description="none: compare the arms as written, each on --seeds fresh seeds, for example over lr."
    )
    tunings: Annotated[Count, BeforeValidator(_check_equal)] | None = Field(
        None,
        description="How often each arm is tuned, with other points and seeds each time; 3 or more for a claim about "
        f"the arms. [default: {DESIGNS['default'].tunings}]",
    )
    trials: Annotated[Count, BeforeValidator(_check_equal)] | None = Field(
        None,
        description="Number of trials of each tuning; the first has the arm's defaults. "
        f"[default: {DESIGNS['default'].trials}]",
    )
    seeds: Annotated[Count, BeforeValidator(_check_equal)] | None = Field(
        None,
        description="Number of fresh seeds on which the winner of each tuning is trained again. "
        f"[default: {DESIGNS['default'].seeds}; {SEEDS_OF_ONE_TUNING} for 1 or 2 tunings]",
    )
    null: str | None = _text(
        "NAME",
        "Compare this optimizer with itself under two names, other points and seeds for each: a difference is a false "
        "alarm.",
    )
    quick: bool = Field(False, description=f"{DESIGNS['quick'].words}.")
    thorough: bool = Field(False, description=f"{DESIGNS['thorough'].words}.")
    margin: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="A difference too small to matter, in the score's unit. "
        "[default: the score's own, 0.2 points of a fraction]",
    )
    target: float | None = Field(
        None, description="Validation score to be reached, as 0.9. [default: what the first arm reaches untuned]"
    )
    sampler: Sampler = Field("qmc", description="Draws the trials.")
    paper: bool = Field(
        False, description="Write the methods paragraph and the tables too, as Markdown and LaTeX, into the report."
    )
    rope: bool = Field(
        False,
        description="Add the Bayesian t test of each pair, equal within the margin; needs pip install 'cnnlab[paper]'.",
    )

    @model_validator(mode="after")
    def _check_design(self) -> "CompareOptions":
        if self.tune == "none":
            for name in ("tunings", "trials", "quick", "thorough"):
                if getattr(self, name):
                    raise ValueError(f"--tune none and --{name} are both given; --seeds sets the number of trainings")
        for one, other in (("quick", "thorough"), ("null", "optimizers"), ("null", "over")):
            if getattr(self, one) and getattr(self, other):
                raise ValueError(f"--{one} and --{other} are both given; keep one")
        return self

    @property
    def design(self) -> Design:
        """The named design, with the numbers that are given in place of its own."""
        if self.tune == "none":
            return Design(1, 1, self.seeds or SEEDS_OF_ONE_TUNING)
        named = DESIGNS["quick" if self.quick else "thorough" if self.thorough else "default"]
        tunings = self.tunings or named.tunings
        seeds = named.seeds if tunings >= LEAST_TUNINGS else SEEDS_OF_ONE_TUNING
        return Design(tunings, self.trials or named.trials, self.seeds or seeds)


Options = TypeVar("Options", bound=RecordOptions)


def options_from(kind: type[Options], given: Mapping[str, Any]) -> Options:
    """Options of a command; None is the default. Raises BadInput naming the option, its value and what is allowed."""
    for name in given:
        if name not in kind.model_fields:
            known = list(kind.model_fields)
            raise BadInput(f"{shortened(name)}: unknown option; known are {', '.join(known)}{nearest(name, known)}")
    try:
        return kind(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise BadInput(explain(error, dict(given))) from None
