"""Names of folders and files that mean something: splits, junk that systems leave behind, cnnlab's own output."""

import os
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from unicodedata import normalize

SPLITS = ("train", "val", "test")

_MEANINGS = {
    "train": ("train", "training", "trainval"),
    "val": ("val", "valid", "validation", "validate", "dev", "development"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SHORT = {"tr": "train", "trn": "train", "va": "val", "vl": "val", "te": "test", "ts": "test", "tst": "test"}
_FILLING = r"(set|data|dataset|images?|imgs?|pictures?|photos?|split|folder)?\d*"

_SIDES = {
    "images": r"(jpeg)?images?|imgs?|pictures?|photos?",
    "masks": r"masks?|labels?|annotations?|annots?|gt|groundtruth|seg|segmentations?|segmentationclass",
}

JUNK = frozenset(
    (
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "recycler", "system volume information"),
        *("icon\r", "__macosx", "_ds_store", "@eadir", "#recycle", "@recycle", "lost+found", "lost.dir"),
        *("picasa.ini", "__pycache__"),
    )
)
"""What systems, network drives and other programs leave beside one's files; in small letters."""
STORES = ("mlruns", "mlartifacts")
"""Folders of runs, as cnnlab and MLflow call them."""
JOURNAL = "journal.jsonl"
"""What cnnlab keeps in the directory of every run, sweep and comparison."""


def nfc(name: str) -> str:
    """The name with each accented letter as one code point: macOS and Linux write `é` in two ways."""
    return normalize("NFC", name)


def split_in(name: str) -> tuple[str | None, str]:
    """The split that a word of the name means, and its other words: `seg_train` is ("train", "seg").

    None if no word means a split, or if two mean different ones; train with val is for training.
    """
    words = _words(name)
    meant = {word: split for word in words if (split := split_named(word))}
    splits = set(meant.values())
    split = "train" if splits == {"train", "val"} else splits.pop() if len(splits) == 1 else None
    return split, "_".join(word for word in words if word not in meant and not re.fullmatch(_FILLING, word))


def splits_in(names: Sequence[str]) -> list[tuple[str | None, str]]:
    """`split_in` of each name; `tr`, `va` and `te` count if every name means a split."""
    whole = ["_".join(_SHORT.get(word, word) for word in _words(name)) for name in names]
    return [split_in(name) for name in (whole if all(split_in(name)[0] for name in whole) else names)]


@lru_cache(maxsize=4096)
def split_named(name: str) -> str | None:
    """The split that a whole name means, in any case and spelling: `Training_Set` is "train", `test2017` "test"."""
    plain = re.sub(r"[\W_]+", "", name.lower())
    for split, words in _MEANINGS.items():
        if any(re.fullmatch(word + _FILLING, plain) for word in words):
            return split
    return None


def _words(name: str) -> list[str]:
    return re.split(r"[\W_]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())


def is_junk(name: str) -> bool:
    """Hidden (`.ipynb_checkpoints`, `.DS_Store`, `._1.png`), or left behind by a system."""
    return name.startswith(".") or name.lower() in JUNK


def is_output(folder: Path) -> bool:
    """Whether cnnlab or MLflow wrote the folder: `mlruns`, or the directory of a run."""
    return folder.name in STORES or os.path.isfile(folder / JOURNAL)


def side_named(name: str) -> str | None:
    """Whether a folder's name, in any case, means the "images" or the "masks" of a segmentation."""
    plain = re.sub(r"[\W_]+", "", name.lower())
    return next((side for side, words in _SIDES.items() if re.fullmatch(words, plain)), None)
