"""Names of folders and files that mean something: splits, and what systems and programs leave behind."""

import re
from functools import lru_cache

SPLITS = ("train", "val", "test")

_MEANINGS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "validate", "dev", "development"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_FILLING = r"(set|data|dataset|images?|imgs?|pictures?|photos?|split|folder)?\d*"

_SIDES = {
    "images": r"(jpeg)?images?|imgs?|pictures?|photos?",
    "masks": r"masks?|labels?|annotations?|annots?|gt|groundtruth|seg|segmentations?|segmentationclass",
}

JUNK = frozenset(
    ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "_ds_store", "@eadir", "#recycle", "lost+found")
)
"""What Windows, macOS and network drives leave beside one's files; in small letters."""


@lru_cache(maxsize=4096)
def split_named(name: str) -> str | None:
    """The split that a name means, in any case and usual spelling: `Training_Set` is "train", `test2017` "test"."""
    plain = re.sub(r"[\W_]+", "", name.lower())
    for split, words in _MEANINGS.items():
        if any(re.fullmatch(word + _FILLING, plain) for word in words):
            return split
    return None


def is_junk(name: str) -> bool:
    """Hidden (`.ipynb_checkpoints`, `.DS_Store`, `._1.png`), or left behind by a system."""
    return name.startswith(".") or name.lower() in JUNK


def side_named(name: str) -> str | None:
    """Whether a folder's name, in any case, means the "images" or the "masks" of a segmentation."""
    plain = re.sub(r"[\W_]+", "", name.lower())
    return next((side for side, words in _SIDES.items() if re.fullmatch(words, plain)), None)
