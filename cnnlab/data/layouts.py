"""The ways in which people keep images: which one a folder has, and its files."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from cnnlab.config import DataConfig
from cnnlab.config.messages import nearest_path
from cnnlab.data.arrays import idx_sets, npy_files, read_arrays, read_idx_files
from cnnlab.data.containers import CLASS_NAMES, TAR_ENDINGS, read_parquet, read_tars
from cnnlab.data.dataset import Source
from cnnlab.data.folders import find_splits, list_by_pattern, list_classes, list_splits, list_splits_inside, search
from cnnlab.data.kinds import bad_files
from cnnlab.data.listing import Listing, Unread, read_pictures
from cnnlab.data.tables import list_table
from cnnlab.data.tree import Tree, data_root
from cnnlab.errors import BadInput, shortened

T = TypeVar("T")
Files = tuple[list[Path], Callable[[], Source]]
"""All files that decide what the function returns."""
Find = Callable[[Tree, Path, DataConfig], Files | None]
"""Finds the files of a layout; None if this is not the layout."""


def find_layout(config: DataConfig) -> Unread:
    """The files at `config.root`.

    Raises BadInput if nothing or no known layout is there, or something in it is ambiguous.
    """
    if not config.root:
        raise BadInput("data.root: the dataset folder needs --data-root, a folder with one subfolder of images a class")
    root = data_root(config.root)
    if not root.exists():
        raise bad_files(
            f"{config.root} is not a folder; give one with a subfolder of images per class{nearest_path(root)}"
        )
    tree = Tree()
    try:
        top = root if find_splits(tree, root) else tree.enter(root)
        if top != root:
            tree.notes.append(f"{top.relative_to(root)} was read, the only folder in {root}")
        for name, (_, find) in LAYOUTS.items():
            if located := find(tree, top, config):
                return Unread(*located, name, tree.all_notes(located[0], root))
        raise _unknown(tree, top)
    except BadInput as error:  # a table that was not used may be the reason
        unused = [note for note in tree.notes if note.startswith("passed over: ")]
        raise BadInput("; ".join([str(error), *unused])) from None


def _unknown(tree: Tree, top: Path) -> BadInput:
    content = tree.look(top)
    counts = {
        "image": len(content.pictures),
        "other file": len(content.files) - len(content.pictures),
        "folder": len(content.folders),
    }
    listed = ", ".join(f"{number or 'no':} {what}{'' if number == 1 else 's'}" for what, number in counts.items())
    known = "; ".join(means for means, _ in LAYOUTS.values())
    return bad_files(f"{top} has {listed} at the top; arrange it as one of these: {known}")


def _arrays(tree: Tree, top: Path, config: DataConfig) -> Files | None:
    files = tree.look(top).files
    archive = _chosen({path.stem: path for path in files if path.suffix.lower() == ".npz"}, top, config)
    paths = [archive] if archive else npy_files(files)
    return (paths, partial(read_arrays, paths, config.rendering)) if paths else None


def _idx(tree: Tree, top: Path, config: DataConfig) -> Files | None:
    sets = idx_sets(tree.look(top).files)
    chosen = _chosen({name: (name, files) for name, files in sets.items()}, top, config)
    if not chosen:
        return None
    name, files = chosen
    mapping = [path for path in tree.look(top).files if path.name == f"{name}-mapping.txt"]
    return [*files.values(), *mapping], partial(read_idx_files, name, files, *mapping)


def _chosen(sets: dict[str, T], top: Path, config: DataConfig) -> T | None:
    """The only set, or the one whose name data.pattern matches; None if there are no sets."""
    if not sets:
        return None
    matches = search(config.pattern, [*sets]) if config.pattern else [[""] for _ in sets]
    chosen = [some for some, match in zip(sets.values(), matches, strict=True) if match]
    if len(chosen) == 1:
        return chosen[0]
    matched = f"data.pattern: {shortened(config.pattern)} matches {len(chosen)} of" if config.pattern else ""
    raise BadInput(
        f"{matched or 'data.root: there are'} {len(sets)} datasets in {top} ({', '.join(sets)}); choose one, as in "
        f"--set data.pattern={next(iter(sets))}"
    )


def _parquet(tree: Tree, top: Path, config: DataConfig) -> Files | None:
    paths = [path for path in tree.files(top) if path.suffix.lower() == ".parquet" and path.is_file()]
    return (paths, partial(read_parquet, paths, top, config)) if paths else None


def _tars(tree: Tree, top: Path, config: DataConfig) -> Files | None:
    files = [path for folder in (top, *tree.look(top).folders) for path in tree.look(folder).files]
    paths = [path for path in files if path.name.lower().endswith(TAR_ENDINGS)]
    names = [path for path in tree.look(top).files if path.name == CLASS_NAMES]
    return ([*paths, *names], partial(read_tars, paths, top, config, *names)) if paths else None


def _pictures(list_pictures: Callable[[Tree, Path, DataConfig], Listing | None]) -> Find:
    def find(tree: Tree, top: Path, config: DataConfig) -> Files | None:
        if (listed := list_pictures(tree, top, config)) is None:
            return None
        files = [Path(picture.name) for some in listed.named.values() for picture, _ in some]
        return [*files, *listed.tables], partial(read_pictures, listed, top, config)

    return find


LAYOUTS: dict[str, tuple[str, Find]] = {
    "arrays": ("an .npz file with train_images and train_labels, or .npy files of these names", _arrays),
    "idx": ("idx files train-images-idx3-ubyte and train-labels-idx1-ubyte", _idx),
    "parquet": ("Parquet files with columns image and label", _parquet),
    "webdataset": ("WebDataset's tar archives", _tars),
    "pattern": ("images whose file names hold the class, with data.pattern", _pictures(list_by_pattern)),
    "table": ("images with a table labels.csv", _pictures(list_table)),
    "splits": ("folders train, val and test of one folder per class", _pictures(list_splits)),
    "splits inside": ("a folder per class with folders train and test inside", _pictures(list_splits_inside)),
    "classes": ("a folder per class", _pictures(list_classes)),
}
"""Name -> the layout in words, and what finds its files; the first that fits is used."""
