"""What a run says while it goes: small frozen records, one line of the journal each.

Losses are mean nats a sample, accuracies fractions in [0, 1], times seconds since 1970, durations seconds. A *step*
is one update of the weights; `step` counts the updates made so far, `epoch` the epochs completed.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, TypeAlias, TypeVar, get_args, get_origin

T = TypeVar("T")

Status = Literal["finished", "failed", "interrupted", "died", "pruned"]


@dataclass(frozen=True, slots=True)
class RunCreated:
    """The first line of every journal: which run this is, and where its view in MLflow belongs."""

    run_id: str
    time: float
    experiment: str
    tracking_uri: str
    """MLflow's URI as resolved when the run was made; "none" where nothing is delivered until a sync."""
    config: dict[str, Any]
    tags: dict[str, str]
    """Git commit, versions, hardware, command line."""
    parent: str | None = None
    """The run id of the sweep that this is a trial of, or of the comparison that it is a part of."""


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The loop begins; again after each resume, then with `step` > 0."""

    time: float
    step: int
    epoch: int
    epochs: int
    steps_per_epoch: int
    dataset: str
    dataset_digest: str
    dataset_source: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    """(C, H, W)"""
    train_size: int
    val_size: int
    test_size: int
    model: str
    parameters: int
    optimizer: str
    device: str
    precision: str
    seed: int


@dataclass(frozen=True, slots=True)
class Steps:
    """The training losses of consecutive steps, as many as passed between two looks at the device."""

    first: int
    """The number of the first step, counted from 1 over the whole run."""
    losses: tuple[float, ...]
    times: tuple[float, ...]
    """When each step was given to the device."""

    @property
    def last(self) -> int:
        return self.first + len(self.losses) - 1

    def after(self, step: int) -> "Steps":
        """The part of it that lies after `step`."""
        cut = max(0, step + 1 - self.first)
        return replace(self, first=self.first + cut, losses=self.losses[cut:], times=self.times[cut:])


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch is done and the validation split measured."""

    time: float
    epoch: int
    step: int
    train_loss: float
    train_accuracy: float
    """Over the epoch's batches as they were trained on, so with dropout and augmentation, and weights in motion."""
    val_loss: float
    val_accuracy: float
    lr: float
    """The learning rate of the epoch's last step."""
    images_per_second: float
    """Training images over the epoch's seconds, evaluation included."""
    seconds: float
    best: bool
    """The best validation accuracy so far; a tie goes to the lower validation loss."""


@dataclass(frozen=True, slots=True)
class CheckpointSealed:
    """Everything up to `step` is on disk and synced: a resume starts here."""

    time: float
    step: int
    epoch: int
    file: str


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The last word, until a resume. What was not reached is None."""

    time: float
    status: Status
    reason: str
    """One sentence where the status is not "finished"; else empty."""
    step: int
    epoch: int
    best_epoch: int | None = None
    best_val_accuracy: float | None = None
    test_loss: float | None = None
    test_accuracy: float | None = None
    fit_seconds: float | None = None
    images_per_second: float | None = None
    """Training images over `fit_seconds`, evaluation included."""
    weights_sha256: str | None = None
    weights_file: str | None = None
    """The best epoch's weights, relative to the run directory."""
    confusion: tuple[tuple[int, ...], ...] | None = None
    """Test images counted by [true class][predicted class]."""
    diverged: bool = False
    """It failed because a loss or gradient was not finite."""


@dataclass(frozen=True, slots=True)
class SweepStarted:
    """A sweep begins or goes on; its trials are runs of their own."""

    time: float
    study: str
    storage: str
    trials: int
    sampler: str
    pruner: str
    seeds: int
    space: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TrialEnded:
    """A trial of a sweep has ended."""

    time: float
    trial: int
    state: str
    """complete, pruned, infeasible (it diverged) or failed."""
    value: float | None
    """The mean over its seeds of the best validation accuracy; None where it was not trained to its end."""
    best_value: float | None
    """Of all trials so far."""
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SweepEnded:
    """What a sweep came to, so far."""

    time: float
    status: Status
    reason: str
    best_trial: int | None
    best_value: float | None
    settings: dict[str, Any]
    """Of the best trial."""


@dataclass(frozen=True, slots=True)
class ComparisonStarted:
    """A comparison begins or goes on; each of its arms is a sweep of its own."""

    time: float
    name: str
    question: str
    """`optimizer`, or the setting that is compared."""
    arms: tuple[str, ...]
    trials: int
    """Of each arm's search."""
    seeds: int
    """Of each arm's finals."""


@dataclass(frozen=True, slots=True)
class MeanOfSeeds:
    """One arm's finals after an epoch, all seeds together."""

    time: float
    step: int
    train_loss: float
    val_accuracy: float
    val_low: float
    """95 % bootstrap interval of the mean."""
    val_high: float


@dataclass(frozen=True, slots=True)
class ComparisonEnded:
    """What a comparison came to, so far."""

    time: float
    status: Status
    reason: str
    scores: dict[str, float]
    """Arm -> its mean test accuracy."""
    ranking: tuple[str, ...]
    verdict: str


Ended: TypeAlias = RunEnded | SweepEnded | ComparisonEnded
"""The last word of a journal, until its run goes on."""

Record: TypeAlias = (
    RunCreated
    | RunStarted
    | Steps
    | Epoch
    | CheckpointSealed
    | SweepStarted
    | TrialEnded
    | ComparisonStarted
    | MeanOfSeeds
    | Ended
)

KINDS: dict[str, type[Record]] = {
    "run_created": RunCreated,
    "run_started": RunStarted,
    "steps": Steps,
    "epoch": Epoch,
    "checkpoint_sealed": CheckpointSealed,
    "run_ended": RunEnded,
    "sweep_started": SweepStarted,
    "trial_ended": TrialEnded,
    "sweep_ended": SweepEnded,
    "comparison_started": ComparisonStarted,
    "mean_of_seeds": MeanOfSeeds,
    "comparison_ended": ComparisonEnded,
}
_NAMES = {kind: name for name, kind in KINDS.items()}
_DATA = ("config", "tags", "space", "settings")
"""Fields that are plain data, lists and all."""


def to_dict(record: Record) -> dict[str, Any]:
    """The record as JSON holds it, with its kind under "record"."""
    return {"record": _NAMES[type(record)], **asdict(record)}


def from_dict(values: dict[str, Any]) -> Record:
    """The inverse of `to_dict`, also after a trip through JSON (which turns tuples into lists).

    Raises KeyError for a kind of record that this version does not know, TypeError for wrong fields.
    """
    given = {key: _tuples(value) for key, value in values.items() if key not in ("record", *_DATA)}
    given.update({key: values[key] for key in _DATA if key in values})
    kind: Callable[..., Record] = KINDS[values["record"]]
    return typed(kind, given)


def typed(kind: Callable[..., T], values: Mapping[str, Any]) -> T:
    """A dataclass made of plain values. Raises TypeError where one is missing, unknown, or not of its field's type."""
    made = kind(**values)
    for field in fields(made):  # type: ignore[arg-type]
        value = getattr(made, field.name)
        if not _fits(value, field.type):
            raise TypeError(f"{field.name} is {value!r:.40}")
    return made


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


PLAIN: dict[Any, set[type]] = {float: {float, int}}
"""Which types a field takes, where it is not its own alone."""


def _fits(value: Any, wanted: Any) -> bool:
    """Whether a value is of a type, as far as the fields of records need types."""
    origin, inner = get_origin(wanted), get_args(wanted)
    if wanted is Any:
        return True
    if origin is None:
        return type(value) in PLAIN.get(wanted, {wanted})
    if origin is Literal:
        return value in inner
    if origin is dict:
        return isinstance(value, dict) and all(_fits(item, inner[1]) for item in value.values())
    if origin is not tuple:  # a union
        return any(_fits(value, one) for one in inner)
    if not isinstance(value, tuple):
        return False
    if inner[-1] is not Ellipsis:
        return len(value) == len(inner) and all(map(_fits, value, inner))
    if get_origin(inner[0]) is None:  # all losses of a run at once, for there are many
        return set(map(type, value)) <= PLAIN.get(inner[0], {inner[0]})
    return all(_fits(item, inner[0]) for item in value)
