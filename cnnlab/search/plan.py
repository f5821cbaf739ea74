"""The plan of a sweep: what determines its trials, and its study. Importing it imports no Optuna."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cnnlab.config import QUESTIONS, RunConfig, changed, flat
from cnnlab.config.commands import DEFAULT_SAMPLER, DEFAULT_TRIALS, Pruner, Sampler, SweepOptions
from cnnlab.config.run_config import PLACE
from cnnlab.config.space import Params, Space
from cnnlab.metrics import Metric
from cnnlab.seeds import derive
from cnnlab.tracking import as_word, studies_root


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One sweep. The same plan made again continues the sweep."""

    config: RunConfig
    """The experiment as written: trial 0."""
    space: Space
    trials: int
    """The total number of trials, with the experiment as written. This and the next fields are as in `SweepOptions`."""
    sampler: Sampler
    pruner: Pruner
    seeds: int
    confirm: int
    confirm_seeds: int
    retries: int
    study: str = ""
    """Its name; empty until `study.with_study` gives one."""
    storage: str = ""
    """As `storage.storage_url` returns it; empty until then."""
    experiment: str = "cnnlab"
    tracking_uri: str = "none"
    parent: str = ""
    """The id of the sweep's run, the parent of its trials; empty until it has been made."""
    above: str = ""
    """The run id of the comparison to which the sweep belongs, if any."""
    doubts: list[str] = field(default_factory=list)
    """Reasons to trust results on its data less; known after the data was loaded."""

    @classmethod
    def of(cls, config: RunConfig, space: Space, options: SweepOptions, **more: Any) -> "Plan":
        """The plan for a sweep's options; `more` are its other fields."""
        return cls(
            config=config,
            space=space,
            trials=options.trials or DEFAULT_TRIALS,
            sampler=options.sampler or DEFAULT_SAMPLER,
            **{name: getattr(options, name) for name in ("pruner", "seeds", "confirm", "confirm_seeds", "retries")},
            study=options.study or "",
            storage=options.storage or "",
            **more,
        )

    @property
    def score(self) -> Metric:
        """The metric that is a trial's value."""
        return self.config.task.metric

    @property
    def folder(self) -> Path:
        """The study's folder on this machine."""
        return (studies_root() / self.study).absolute()

    @property
    def remarks(self) -> list[str]:
        """What a user should know before the sweep begins, one line each."""
        size = self.space.size if self.sampler == "grid" else None
        all_tried = size is not None and self.trials >= size
        return [*self.doubts, *[f"the space has only {size} points; each is tried once"] * all_tried]

    def identity(self) -> dict[str, Any]:
        """What is the same for all plans of one study."""
        return {
            "config": what_it_is(self.config),
            "space": self.space.to_json(),
            **{name: getattr(self, name) for name in ("sampler", "pruner", "seeds")},
        }

    def default_study(self) -> str:
        """A name that only the same plan has."""
        return f"{as_word(self.config.label)[:100]}-{digest_of(self.identity())}"

    def with_threads(self, threads: int | None) -> "Plan":
        """The plan for trials with this number of threads (None: the config's); its study is the same."""
        place = self.config.place.model_copy(update={"threads": threads or self.config.place.threads})
        return replace(self, config=self.config.model_copy(update={"place": place}))

    def config_of(self, number: int, params: Params, seed: int = 0) -> RunConfig:
        """Trial `number` with its `seed`-th seed; trial 0 is the experiment as written, whatever its parameters."""
        settings = {} if number == 0 else self.space.settings(params)
        return changed(self.config, {**settings, "training.seed": self.config.training.seed + seed})

    def searched(self, config: dict[str, Any]) -> dict[str, Any]:
        """The searched settings of a trial's config (as plain data): dotted path -> value."""
        settings = flat(RunConfig.model_validate(config)) if config else {}
        return {d.path: settings[d.path] for d in self.space.dimensions if d.path in settings}

    def fresh_seed(self, index: int) -> int:
        """A seed that no trial was trained with, for the `index`-th seed of the confirmation."""
        return derive(self.config.training.seed, "confirm", index=index) >> 32

    def sampler_seed(self, number: int) -> int:
        """The seed of a trial's draws. It depends on the number of the trial and not on the process that draws."""
        return derive(self.config.training.seed, "sampler", index=number)


def what_it_is(config: RunConfig) -> dict[str, Any]:
    """A config without its place and its name."""
    return config.model_dump(mode="json", exclude={*QUESTIONS, PLACE, "name"})


def digest_of(identity: dict[str, Any]) -> str:
    """Six characters for a name."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:6]


def differences(old: dict[str, Any], new: dict[str, Any], path: str = "") -> list[str]:
    """The differences of two identities, one line each: `config.optimizer.lr: 0.05 there, 0.1 here`."""
    lines = []
    for key in [*old, *(key for key in new if key not in old)]:
        here = f"{path}.{key}" if path else key
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            lines += differences(before, after, here)
        elif before != after:
            lines.append(f"{here}: {json.dumps(before)} there, {json.dumps(after)} here")
    return lines
