"""What lies in a folder, without what systems and programs leave there; that is counted."""

import filecmp
import os
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, NoReturn

from cnnlab.data.names import is_junk, is_output, split_named
from cnnlab.data.pictures import SUFFIXES
from cnnlab.errors import BadInput

DOCUMENTS = frozenset((".txt", ".md", ".rst", ".pdf", ".rtf", ".doc", ".docx", ".html", ".htm", ".bib", ".sh", ".py"))
"""Of files that say something about images, but hold neither images nor their classes; in small letters."""


class Content(NamedTuple):
    """A folder's own folders and files, in the order of their names."""

    folders: list[Path]
    files: list[Path]

    @property
    def pictures(self) -> list[Path]:
        """The files whose names say that they are images."""
        return [path for path in self.files if path.suffix.lower() in SUFFIXES]


class Tree:
    """Folders as they are found, each looked into once.

    Every method raises BadInput where a folder cannot be read.
    """

    def __init__(self) -> None:
        self._seen: dict[Path, Content] = {}
        self._below: dict[Path, list[Path]] = {}
        self._junk: set[Path] = set()
        self._closed: dict[Path, str] = {}
        self.notes: list[str] = []
        """What was chosen or passed over, in the order in which it was found."""

    def look(self, folder: Path) -> Content:
        """What lies in the folder itself; a file lies in itself."""
        if folder not in self._seen and os.path.isfile(folder):
            self._seen[folder] = Content([], [folder])
        if folder not in self._seen:
            try:
                with os.scandir(folder) as entries:
                    found = sorted((entry.name, entry.is_dir(), _is_device(entry)) for entry in entries)
            except OSError as error:
                _refuse(error)
            folders = self._kept(folder, [name for name, is_folder, _ in found if is_folder])
            files = self._kept(folder, [name for name, is_folder, device in found if not (is_folder or device)])
            self.pass_over([folder / name for name, _, device in found if device], "no file, but a pipe or a device")
            self._seen[folder] = Content([path for path in folders if self._is_open(path)], files)
        return self._seen[folder]

    def pass_over(self, paths: list[Path], why: str) -> None:
        """Note that these were left out."""
        if paths:
            named = ", ".join(path.name for path in paths[:3]) + (", ..." if len(paths) > 3 else "")
            self.notes.append(f"passed over, {why}: {named}" + (f" ({len(paths):,})" if len(paths) > 3 else ""))

    def files(self, folder: Path) -> list[Path]:
        """Whatever lies below the folder, at any depth, and is no folder: links to nothing too.

        A link to a folder is followed, unless the folder was read already or the link lies in it.
        """
        if folder not in self._below and os.path.isfile(folder):
            self._below[folder] = [folder]
        if folder not in self._below:
            found: list[Path] = []
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
                    found.extend(self._kept(Path(top), names))
            self._below[folder] = sorted(found)
        return self._below[folder]

    def _kept(self, folder: Path, names: list[str]) -> list[Path]:
        self._junk.update(folder / name for name in names if is_junk(name))
        return [folder / name for name in names if not is_junk(name)]

    def _is_open(self, folder: Path) -> bool:
        """Whether the folder may hold data, and no circle."""
        if is_output(folder):
            self._closed[folder] = "written by cnnlab or MLflow"
        elif folder.is_symlink() and Path(os.path.realpath(folder.parent)).is_relative_to(os.path.realpath(folder)):
            self._closed[folder] = "a link to a folder that it lies in"
        return folder not in self._closed

    def enter(self, folder: Path) -> Path:
        """The folder, or what it holds where that is a single folder of folders, as archives are often unpacked."""
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
        """The folder, or the first of those in it if they all hold the same folders of the same files."""
        first, *others = [self.enter(inner) for inner in self.look(folder).folders] or [folder]
        names = [inner.name for inner in self.look(first).folders]
        if not others or len(names) < 2 or any(map(split_named, names)):
            return folder
        if not all(self.same(first, other) for other in others):
            return folder
        self.notes.append(f"passed over, the same files as in {first}: {', '.join(map(str, others))}")
        return first

    def same(self, one: Path, other: Path) -> bool:
        """Whether both hold files of the same names and sizes, and the first of them has the same bytes."""
        files, others = self.files(one), self.files(other)
        return (
            [path.relative_to(one) for path in files] == [path.relative_to(other) for path in others]
            and all(path.lstat().st_size == twin.lstat().st_size for path, twin in zip(files, others, strict=True))
            and all(filecmp.cmp(path, twin, shallow=False) for path, twin in zip(files[:1], others[:1], strict=True))
        )

    def said(self) -> tuple[str, ...]:
        """The notes, and what cnnlab, systems and programs had left there."""
        for why in sorted(set(self._closed.values())):
            self.pass_over(sorted(path for path in self._closed if self._closed[path] == why), why)
        if not self._junk:
            return tuple(self.notes)
        counts = Counter(path.name if not path.name.startswith("._") else "._*" for path in sorted(self._junk))
        named = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in counts.most_common(6))
        more = f" and {len(counts) - 6} other names" if len(counts) > 6 else ""
        inside = sum(len(names) for path in self._junk if path.is_dir() for _, _, names in os.walk(path))
        files = f" with {inside:,} files in them" if inside else ""
        return (*self.notes, f"passed over, hidden or left by a system: {named}{more}{files}")


def _is_device(entry: "os.DirEntry[str]") -> bool:
    """Whether it is a pipe, a socket or a device, which may be read for ever; a link to nothing is named later."""
    return not (entry.is_dir() or entry.is_file()) and os.path.exists(entry)


def links_out(files: Iterable[Path], top: Path) -> list[str]:
    """A note on the files that lie outside of the folder, to which only links lead; none if there are none."""
    real = lru_cache(maxsize=None)(os.path.realpath)
    home = real(top)

    def lies_in(place: str) -> bool:
        return place == home or place.startswith(os.path.join(home, ""))

    out = [
        path
        for path in map(str, files)
        if not lies_in(real(os.path.dirname(path))) or (os.path.islink(path) and not lies_in(os.path.realpath(path)))
    ]
    if not out:
        return []
    more = f", and {len(out) - 1:,} more" if len(out) > 1 else ""
    return [f"read through links that lead out of {top}: {out[0]} -> {os.path.realpath(out[0])}{more}"]


def _refuse(error: OSError) -> NoReturn:
    raise BadInput(f"data.root: {error.filename} cannot be read ({error.strerror})")
