"""The ways in which people keep images: which one a folder has, and what it holds."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from cnnlab.config import DataConfig
from cnnlab.config.messages import nearest_path
from cnnlab.data.arrays import npy_pairs, read_npy, read_npz
from cnnlab.data.dataset import Source
from cnnlab.data.folders import find_splits, has_splits_inside, list_classes, list_splits, list_splits_inside
from cnnlab.data.idx import idx_sets, read_idx_files
from cnnlab.data.listing import DEFAULT_SIDE, Listing, read_pictures, shown
from cnnlab.data.parquet import read_parquet
from cnnlab.data.patterns import compiled, list_by_pattern, searched
from cnnlab.data.places import data_root
from cnnlab.data.tables import list_table
from cnnlab.data.tars import NAMES, is_tar, read_tars
from cnnlab.data.tree import Tree
from cnnlab.errors import BadInput, shortened

_T = TypeVar("_T")


@dataclass(frozen=True)
class Found:
    """What lies at data.root: found, not yet decoded."""

    files: list[Path]
    """All that decides what `read` gives."""
    read: Callable[[], Source]
    layout: str = ""
    notes: tuple[str, ...] = ()
    """What was chosen and what was passed over, one line each."""


@dataclass(frozen=True)
class Layout:
    """A way of keeping images: in words, and what finds it (None if it is not this one)."""

    means: str
    find: Callable[[Tree, Path, DataConfig], Found | None]


def find_layout(config: DataConfig) -> Found:
    """What lies at `config.root`.

    Raises:
        BadInput: nothing there, or nothing that is known; or something in it is ambiguous.
    """
    if not config.root:
        raise BadInput("data.root: the dataset folder needs --data-root, a folder with one subfolder of images a class")
    root = data_root(config.root)
    if not root.exists():
        raise BadInput(
            f"data.root: {config.root} is not a folder; give one with a subfolder of images per class"
            f"{nearest_path(root)}"
        )
    tree = Tree()
    try:
        return _find(tree, root, config)
    except BadInput as error:  # a table that was not used may be the reason
        unused = [note for note in tree.notes if note.startswith("passed over: ")]
        raise BadInput("; ".join([str(error), *unused])) from None


def _find(tree: Tree, root: Path, config: DataConfig) -> Found:
    top = root if find_splits(tree, root) else tree.enter_twins(tree.enter(root))
    if top != root:
        tree.notes.append(f"{top.relative_to(root)} is what was read, all that lies in {root}")
    for name, layout in LAYOUTS.items():
        if found := layout.find(tree, top, config):
            return Found(found.files, found.read, name, tuple(map(shown, tree.said())))
    content = tree.look(top)
    seen = {
        "image": len(content.pictures),
        "other file": len(content.files) - len(content.pictures),
        "folder": len(content.folders),
    }
    counts = ", ".join(f"{number or 'no':} {what}{'' if number == 1 else 's'}" for what, number in seen.items())
    known = "; ".join(layout.means for layout in LAYOUTS.values())
    raise BadInput(f"data.root: {top} has {counts} at the top; arrange it as one of these: {known}")


def _npz(tree: Tree, top: Path, config: DataConfig) -> Found | None:
    paths = {path.stem: path for path in tree.look(top).files if path.suffix.lower() == ".npz"}
    if not paths:
        return None
    path = paths[_chosen(paths, top, config)]
    return Found([path], partial(read_npz, path))


def _npy(tree: Tree, top: Path, config: DataConfig) -> Found | None:
    paths = npy_pairs(tree.look(top).files)
    return Found(paths, partial(read_npy, paths)) if paths else None


def _idx(tree: Tree, top: Path, config: DataConfig) -> Found | None:
    sets = idx_sets(tree.look(top).files)
    if not sets:
        return None
    name = _chosen(sets, top, config)
    mapping = [path for path in tree.look(top).files if path.name == f"{name}-mapping.txt"]
    return Found([*sets[name].values(), *mapping], partial(read_idx_files, name, sets[name], *mapping))


def _parquet(tree: Tree, top: Path, config: DataConfig) -> Found | None:
    paths = [path for path in tree.files(top) if path.suffix.lower() == ".parquet" and path.is_file()]
    return Found(paths, partial(read_parquet, paths, top, _side(config), config.skip_broken)) if paths else None


def _tars(tree: Tree, top: Path, config: DataConfig) -> Found | None:
    paths = [path for folder in (top, *tree.look(top).folders) for path in tree.look(folder).files if is_tar(path)]
    names = [path for path in tree.look(top).files if path.name == NAMES]
    read = partial(read_tars, paths, top, _side(config), config.skip_broken, *names)
    return Found([*paths, *names], read) if paths else None


def _pattern(tree: Tree, top: Path, config: DataConfig) -> Found | None:
    return _pictures(list_by_pattern(tree, top, config), top, config) if config.pattern else None


def _table(tree: Tree, top: Path, config: DataConfig) -> Found | None:
    listed = list_table(tree, top, config)
    return _pictures(listed[0], top, config, listed[1]) if listed else None


def _splits(tree: Tree, top: Path, config: DataConfig) -> Found | None:
    return _pictures(list_splits(tree, top, config), top, config) if find_splits(tree, top) else None


def _splits_inside(tree: Tree, top: Path, config: DataConfig) -> Found | None:
    return _pictures(list_splits_inside(tree, top), top, config) if has_splits_inside(tree, top) else None


def _classes(tree: Tree, top: Path, config: DataConfig) -> Found | None:
    return _pictures(list_classes(tree, top, config), top, config) if tree.look(top).folders else None


def _pictures(listed: Listing, top: Path, config: DataConfig, tables: list[Path] | None = None) -> Found:
    files = [Path(picture.name) for pictures, _ in listed.splits.values() for picture in pictures]
    return Found([*files, *(tables or [])], partial(read_pictures, listed, top, _side(config), config.skip_broken))


def _side(config: DataConfig) -> int:
    return config.resize or DEFAULT_SIDE


def _chosen(sets: dict[str, _T], top: Path, config: DataConfig) -> str:
    """The name of the only set, or of the one that data.pattern matches."""
    found = searched(compiled(config.pattern), [*sets]) if config.pattern else [[""] for _ in sets]
    named = [name for name, match in zip(sets, found, strict=True) if match]
    if len(named) == 1:
        return named[0]
    asked = f"data.pattern: {shortened(config.pattern)} matches" if config.pattern else "data.root: there are"
    matched = f"{asked} {len(named)} of" if config.pattern else asked
    raise BadInput(
        f"{matched} {len(sets)} datasets in {top} ({', '.join(sets)}); choose one, as in "
        f"--set data.pattern={next(iter(sets))}"
    )


LAYOUTS = {
    "npz": Layout("an .npz file with train_images and train_labels", _npz),
    "npy": Layout(".npy files train_images and train_labels", _npy),
    "idx": Layout("idx files train-images-idx3-ubyte and train-labels-idx1-ubyte", _idx),
    "parquet": Layout("Parquet files with columns image and label", _parquet),
    "webdataset": Layout("WebDataset's tar archives", _tars),
    "pattern": Layout("images whose file names hold the class, with data.pattern", _pattern),
    "table": Layout("images with a table labels.csv", _table),
    "splits": Layout("folders train, val and test of one folder per class", _splits),
    "splits inside": Layout("a folder per class with folders train and test inside", _splits_inside),
    "classes": Layout("a folder per class", _classes),
}
"""Name -> layout; the first that fits is it."""
