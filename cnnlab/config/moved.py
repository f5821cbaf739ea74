"""Settings that had another name in earlier versions: both names are read, in files, journals, studies and flags."""

from typing import Any

MOVED = {
    "training.device": "place.device",
    "training.threads": "place.threads",
    "data.workers": "place.workers",
    "data.residence": "place.residence",
}
"""The name that it had -> the name that it has."""

PLACE = "place"
"""The section that says where a run happens. Where is not what: it is outside a run's identity, so it may differ when
a run or a study goes on, and it is neither searched nor compared."""


def is_place(path: str) -> bool:
    """Whether a setting says where a run happens."""
    return MOVED.get(path, path).partition(".")[0] == PLACE


def moved(values: dict[str, Any]) -> dict[str, Any]:
    """Plain values of a config, each setting at the name that it has now, unless that is given too."""
    for old, new in MOVED.items():
        (section, key), (home, name) = old.split("."), new.split(".")
        given, there = values.get(section), values.get(home, {})
        if isinstance(given, dict) and isinstance(there, dict) and key in given and name not in there:
            stays = {other: value for other, value in given.items() if other != key}
            values = {**values, section: stays, home: {**there, name: given[key]}}
    return values


LATER = {
    **{"task.name": "classification", "task.score": None},
    **{"data.depth": 1, "data.pattern": None, "data.colours": None, "data.allow_conflicting_labels": False},
}
"""A setting that was added after studies were first named -> its default, which is left out of the name."""


def as_first_named(config: dict[str, Any]) -> dict[str, Any]:
    """A config without its place, as the names of studies were first made from it.

    So a study that an earlier version began is found by the same command.
    """
    early = {
        section: {key: value for key, value in values.items() if (f"{section}.{key}", value) not in LATER.items()}
        for section, values in config.items()
    }
    early["data"] |= {"residence": "auto", "workers": 2}
    return {section: values for section, values in early.items() if values}
