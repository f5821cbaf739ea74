"""Folders and the names in them: where data are, which folder is which split, and what is never data."""

import filecmp
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, NoReturn
from unicodedata import normalize

from cnnlab.data.kinds import bad_files
from cnnlab.data.pictures import is_image
from cnnlab.errors import BadInput, printable

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


def shown(name: str) -> str:
    """A file's name as text: bytes that are no UTF-8 and control characters become their codes."""
    return printable(os.fsencode(name).decode("utf-8", "backslashreplace"))


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
    """The folders and files directly in a folder, in the order of their names."""

    folders: list[Path]
    files: list[Path]

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
        self._below: dict[Path, list[Path]] = {}
        self._junk: set[Path] = set()
        self._closed: dict[Path, str] = {}

    def look(self, folder: Path) -> Content:
        """What is directly in the folder; a file is its own content."""
        if folder not in self._contents:
            self._contents[folder] = Content([], [folder]) if os.path.isfile(folder) else self._read(folder)
        return self._contents[folder]

    def _read(self, folder: Path) -> Content:
        try:
            with os.scandir(folder) as entries:
                kinds = {entry.name: (entry.is_dir(), _is_device(entry)) for entry in entries}
        except OSError as error:
            _refuse(error)
        folders = self._kept(folder, sorted(name for name, (is_folder, _) in kinds.items() if is_folder))
        files = self._kept(folder, sorted(name for name, which in kinds.items() if not any(which)))
        devices = sorted(folder / name for name, (_, is_device) in kinds.items() if is_device)
        self.pass_over(devices, "no file, but a pipe or a device")
        return Content([path for path in folders if self._is_open(path)], files)

    def pass_over(self, paths: Sequence[Path], why: str) -> None:
        """Note that these were left out."""
        if paths:
            named = ", ".join(path.name for path in paths[:3]) + (", ..." if len(paths) > 3 else "")
            self.notes.append(f"passed over, {why}: {named}" + (f" ({len(paths):,})" if len(paths) > 3 else ""))

    def files(self, folder: Path) -> list[Path]:
        """All files below the folder, at any depth, links to nothing too.

        A link to a folder is followed, unless the folder was read already or the link lies in it.
        """
        if folder not in self._below:
            self._below[folder] = [folder] if os.path.isfile(folder) else self._walk(folder)
        return self._below[folder]

    def _walk(self, folder: Path) -> list[Path]:
        files: list[Path] = []
        read: set[str] = set()
        starts = [folder]
        for start in starts:  # links are added at the end, so that files have the paths without them
            for top, folders, names in os.walk(start, onerror=_refuse):
                if (real := os.path.realpath(top)) in read:
                    folders.clear()
                    continue
                read.add(real)
                inner = [path for path in self._kept(Path(top), sorted(folders)) if self._is_open(path)]
                folders[:] = [path.name for path in inner if not path.is_symlink()]
                starts.extend(path for path in inner if path.is_symlink())
                files.extend(self._kept(Path(top), names))
        return sorted(files)

    def pictures(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """The files below the folder whose names say that they are images, and the others."""
        files = self.files(folder)
        return [path for path in files if is_image(path)], [path for path in files if not is_image(path)]

    def _kept(self, folder: Path, names: list[str]) -> list[Path]:
        self._junk.update(folder / name for name in names if is_junk(name))
        return [folder / name for name in names if not is_junk(name)]

    def _is_open(self, folder: Path) -> bool:
        """Whether the folder may hold data: it is no output of runs, and no link that makes a circle."""
        if folder.name in STORES or os.path.isfile(folder / JOURNAL):
            self._closed[folder] = "written by cnnlab or MLflow"
        elif folder.is_symlink() and Path(os.path.realpath(folder.parent)).is_relative_to(os.path.realpath(folder)):
            self._closed[folder] = "a link to a folder that it lies in"
        return folder not in self._closed

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

    def enter_twins(self, folder: Path) -> Path:
        """The folder; if all folders in it hold the same folders of the same files, the first of them."""
        first, *others = [self.enter(inner) for inner in self.look(folder).folders] or [folder]
        names = [inner.name for inner in self.look(first).folders]
        if not others or len(names) < 2 or any(map(split_named, names)):
            return folder
        if not all(self.same(first, other) for other in others):
            return folder
        self.notes.append(f"passed over, the same files as in {first}: {', '.join(map(str, others))}")
        return first

    def same(self, one: Path, other: Path) -> bool:
        """Whether both hold files of the same names and sizes, the first of which have the same bytes."""
        files, others = self.files(one), self.files(other)
        return (
            [path.relative_to(one) for path in files] == [path.relative_to(other) for path in others]
            and all(path.lstat().st_size == twin.lstat().st_size for path, twin in zip(files, others, strict=True))
            and all(filecmp.cmp(path, twin, shallow=False) for path, twin in zip(files[:1], others[:1], strict=True))
        )

    def all_notes(self, files: Iterable[Path], top: Path) -> tuple[str, ...]:
        """The notes; what cnnlab, systems and programs left; which of `files` only links lead to."""
        for why in sorted(set(self._closed.values())):
            self.pass_over(sorted(path for path in self._closed if self._closed[path] == why), why)
        if self._junk:
            counts = Counter(path.name if not path.name.startswith("._") else "._*" for path in sorted(self._junk))
            named = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in counts.most_common(6))
            more = f" and {len(counts) - 6} other names" if len(counts) > 6 else ""
            inside = sum(len(names) for path in self._junk if path.is_dir() for _, _, names in os.walk(path))
            with_files = f" with {inside:,} files in them" if inside else ""
            self.notes.append(f"passed over, hidden or left by a system: {named}{more}{with_files}")
        return (*map(shown, self.notes), *links_out(files, top))


def _is_device(entry: "os.DirEntry[str]") -> bool:
    """Whether it is a pipe, a socket or a device, which may be read for ever; a link to nothing is named later."""
    return not (entry.is_dir() or entry.is_file()) and os.path.exists(entry)


def links_out(files: Iterable[Path], top: Path) -> tuple[str, ...]:
    """A note on the files outside of the folder, to which only links lead; none if there are none."""
    real = lru_cache(maxsize=None)(os.path.realpath)
    home = real(top)

    def is_out(place: str) -> bool:
        return place != home and not place.startswith(os.path.join(home, ""))

    out = [
        path
        for path in map(str, files)
        if is_out(real(os.path.dirname(path))) or (os.path.islink(path) and is_out(os.path.realpath(path)))
    ]
    if not out:
        return ()
    more = f", and {len(out) - 1:,} more" if len(out) > 1 else ""
    return (shown(f"read through links that lead out of {top}: {out[0]} -> {os.path.realpath(out[0])}{more}"),)


def _refuse(error: OSError) -> NoReturn:
    raise bad_files(f"{error.filename} cannot be read ({error.strerror})")
