"""Folders and their names: where the data are, which folder is which split, and what is never data."""

import os
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

from cnnlab.data.kinds import bad_files
from cnnlab.data.pictures import is_image
from cnnlab.errors import BadInput

SPLITS = ("train", "val", "test")

_MEANINGS = {
    "train": ("train", "training", "trainval"),
    "val": ("val", "valid", "validation", "validate", "dev", "development"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SHORT = {"tr": "train", "trn": "train", "va": "val", "vl": "val", "te": "test", "ts": "test", "tst": "test"}
_FILLING = r"(set|data|dataset|images?|imgs?|pictures?|photos?|split|folder)?\d*"

JUNK = frozenset(
    (
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "recycler", "system volume information"),
        *("icon\r", "__macosx", "_ds_store", "@eadir", "#recycle", "@recycle", "lost+found", "lost.dir"),
        *("picasa.ini", "__pycache__"),
    )
)
"""What systems, network drives and other programs leave beside images; in small letters."""
STORES = ("mlruns", "mlartifacts")
"""Folders of runs, as cnnlab and MLflow call them."""
JOURNAL = "journal.jsonl"
"""The file that cnnlab keeps in the directory of each run, sweep and comparison."""
DOCUMENTS = frozenset((".txt", ".md", ".rst", ".pdf", ".rtf", ".doc", ".docx", ".html", ".htm", ".bib", ".sh", ".py"))
"""The endings of files about images that hold neither images nor classes; in small letters."""


def default_root() -> Path:
    """$CNNLAB_DATA, or ~/.cache/cnnlab. Raises BadInput if the home directory is not known."""
    return _expanded(os.environ.get("CNNLAB_DATA") or "~/.cache/cnnlab", "CNNLAB_DATA")


def data_root(text: str) -> Path:
    """The folder that data.root names, whether it is there or not. Raises BadInput if it cannot be opened."""
    path = _expanded(text, "data.root")
    try:
        path.stat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:  # too long a name, a folder without permission, a zero byte
        raise bad_files(f"{text} cannot be opened ({getattr(error, 'strerror', error)})") from None
    return path


def _expanded(text: str, name: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise BadInput(f"{name}: the home directory in {text} is not known; give a whole path") from None


def nfc(name: str) -> str:
    """The name with each accented letter as one code point: macOS and Linux write `é` in two ways."""
    return normalize("NFC", name)


def split_in(name: str) -> tuple[str | None, str]:
    """The split that a word of the name means, and its other words: `seg_train` is ("train", "seg").

    None if no word means a split, or if two words mean different ones, except that train with val is train.
    """
    words = _words(name)
    meant = {word: split for word in words if (split := split_named(word))}
    splits = set(meant.values())
    split = "train" if splits == {"train", "val"} else splits.pop() if len(splits) == 1 else None
    return split, "_".join(word for word in words if word not in meant and not re.fullmatch(_FILLING, word))


def splits_in(names: Sequence[str]) -> list[tuple[str | None, str]]:
    """`split_in` of each name; `tr`, `va` and `te` count if each name means a split."""
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
    """Hidden (`.ipynb_checkpoints`, `.DS_Store`, `._1.png`), or left by a system."""
    return name.startswith(".") or name.lower() in JUNK


class Content(NamedTuple):
    """What is directly in a folder, each in the order of the names."""

    folders: list[Path]
    files: list[Path]
    devices: list[Path]
    """Pipes, sockets and devices, which may be read for ever."""

    @property
    def pictures(self) -> list[Path]:
        """The files whose names say that they are images."""
        return [path for path in self.files if is_image(path)]


class Tree:
    """Folders without what is never data; each is read once. `notes` says what was chosen and passed over.

    All methods raise BadInput if a folder cannot be read.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._contents: dict[Path, Content] = {}
        self._never_data: dict[str, list[Path]] = {}

    def look(self, folder: Path) -> Content:
        """What is directly in the folder; a file is its own content."""
        if folder not in self._contents:
            self._contents[folder] = Content([], [folder], []) if os.path.isfile(folder) else self._read(folder)
        return self._contents[folder]

    def _read(self, folder: Path) -> Content:
        content = Content([], [], [])
        try:
            with os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    path = folder / entry.name
                    if why := _why_never_data(entry):
                        self._never_data.setdefault(why, []).append(path)
                    elif entry.is_dir():
                        content.folders.append(path)
                    elif entry.is_file() or not os.path.exists(path):  # a link to nothing is named later
                        content.files.append(path)
                    else:
                        content.devices.append(path)
        except OSError as error:
            raise bad_files(f"{error.filename} cannot be read ({error.strerror})") from None
        self.pass_over(content.devices, "no file, but a pipe or a device")
        return content

    def pass_over(self, paths: Sequence[Path], why: str) -> None:
        """Note that these were left out."""
        if paths:
            names = list(dict.fromkeys(path.name for path in paths))
            named = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            count = f" ({len(paths):,})" if len(paths) > len(names[:3]) else ""
            self.notes.append(f"passed over, {why}: {named}{count}")

    def files(self, folder: Path) -> list[Path]:
        """All files below the folder, at any depth, and devices and links to nothing too.

        A link to a folder is followed, unless that folder was read already.
        """
        files: list[Path] = []
        read: set[str] = set()
        folders, links = [folder], list[Path]()
        while folders or links:  # links come last, so that files have the paths without them
            top = folders.pop() if folders else links.pop(0)
            if (real := os.path.realpath(top)) not in read:
                read.add(real)
                content = self.look(top)
                files += [*content.files, *content.devices]
                for inner in content.folders:
                    (links if inner.is_symlink() else folders).append(inner)
        return sorted(files)

    def pictures(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """The files below the folder whose names say that they are images, and the others."""
        files = self.files(folder)
        return [path for path in files if is_image(path)], [path for path in files if not is_image(path)]

    def enter(self, folder: Path) -> Path:
        """The folder; if it holds only one folder of folders, as unpacked archives often do, that one."""
        content = self.look(folder)
        if len(content.folders) != 1 or any(path.suffix.lower() not in DOCUMENTS for path in content.files):
            return folder
        (inner,) = content.folders
        if split_named(inner.name) and not split_named(folder.name):
            return folder
        if not self.look(inner).folders or self.look(inner).pictures:
            return folder
        self.pass_over(content.files, f"beside {inner}")
        return self.enter(inner)

    def all_notes(self, files: Iterable[Path], top: Path) -> tuple[str, ...]:
        """The notes; what is never data; which of `files` only links lead to."""
        for why, paths in sorted(self._never_data.items()):
            self.pass_over(sorted(paths), why)
        return (*self.notes, *links_out(files, top))


def _why_never_data(entry: "os.DirEntry[str]") -> str | None:
    if is_junk(entry.name):
        return "hidden or left by a system"
    if entry.is_dir():
        if entry.name in STORES or os.path.isfile(os.path.join(entry.path, JOURNAL)):
            return "written by cnnlab or MLflow"
        parent = os.path.dirname(entry.path)
        if entry.is_symlink() and Path(os.path.realpath(parent)).is_relative_to(os.path.realpath(entry.path)):
            return "a link to a folder that it lies in"
    return None


def links_out(files: Iterable[Path], top: Path) -> tuple[str, ...]:
    """A note on the files outside of the folder, to which only links lead; none if there are none."""
    real = lru_cache(maxsize=None)(os.path.realpath)
    home = os.path.join(real(top if top.is_dir() else top.parent), "")

    def leads_out(path: Path) -> bool:
        is_inside = os.path.join(real(path.parent), "").startswith(home)
        return not is_inside or (path.is_symlink() and not os.path.realpath(path).startswith(home))

    out = [path for path in files if leads_out(path)]
    more = f", and {len(out) - 1:,} more" if len(out) > 1 else ""
    return tuple(f"read through links that lead out of {top}: {p} -> {os.path.realpath(p)}{more}" for p in out[:1])
