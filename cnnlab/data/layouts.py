"""The ways in which people keep images: which one a folder has, and what it holds."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cnnlab.config import DataConfig
from cnnlab.data import folders
from cnnlab.data.dataset import Source
from cnnlab.data.listing import DEFAULT_SIDE, Listing, read_pictures
from cnnlab.data.places import data_root
from cnnlab.data.tree import Tree
from cnnlab.errors import BadInput


@dataclass(frozen=True)
class Found:
    """What lies at data.root: found, not yet decoded."""

    layout: str
    files: list[Path]
    """All that decides what `read` gives."""
    read: Callable[[], Source]
    notes: tuple[str, ...]
    """What was chosen and what was passed over, one line each."""


@dataclass(frozen=True)
class Layout:
    """A way of keeping images."""

    means: str
    fits: Callable[[Tree, Path, DataConfig], bool]
    find: Callable[[Tree, Path, DataConfig], "tuple[list[Path], Callable[[], Source]]"]


def find_layout(config: DataConfig) -> Found:
    """What lies at `config.root`.

    Raises:
        BadInput: nothing there, or nothing that is known; or something in it is ambiguous.
    """
    if not config.root:
        raise BadInput("data.root: the dataset folder needs --data-root, a folder with one subfolder of images a class")
    root = data_root(config.root)
    if not root.exists():
        raise BadInput(f"data.root: {config.root} is not a folder; give one with a subfolder of images for each class")
    tree = Tree()
    top = root if _splits(tree, root) else tree.enter(root)
    if top != root:
        tree.notes.append(f"{top.relative_to(root)} is what was read, all that lies in {root}")
    for name, layout in LAYOUTS.items():
        if layout.fits(tree, top, config):
            files, read = layout.find(tree, top, config)
            return Found(name, files, read, tree.said())
    content = tree.look(top)
    raise BadInput(
        f"data.root: {top} has {len(content.pictures):,} images, {len(content.files) - len(content.pictures):,} other "
        f"files and {len(content.folders):,} folders at the top; known are: "
        f"{'; '.join(layout.means for layout in LAYOUTS.values())}"
    )


def _splits(tree: Tree, top: Path) -> bool:
    return folders.has_split_folders(tree, top)


def _pictures(
    find: Callable[[Tree, Path, DataConfig], Listing],
) -> Callable[[Tree, Path, DataConfig], tuple[list[Path], Callable[[], Source]]]:
    """Of a layout that lists pictures: its files, and what decodes them."""

    def found(tree: Tree, top: Path, config: DataConfig) -> tuple[list[Path], Callable[[], Source]]:
        listed = find(tree, top, config)
        files = [Path(picture.name) for pictures, _ in listed.splits.values() for picture in pictures]
        side = config.resize or DEFAULT_SIDE
        return files, lambda: read_pictures(listed, top, side, config.skip_broken)

    return found


LAYOUTS = {
    "splits": Layout(
        "folders train, val and test (in any usual spelling) of one folder per class",
        lambda tree, top, config: folders.has_split_folders(tree, top),
        _pictures(folders.list_splits),
    ),
    "splits inside": Layout(
        "a folder per class with folders train and test inside",
        lambda tree, top, config: folders.has_splits_inside(tree, top),
        _pictures(folders.list_splits_inside),
    ),
    "classes": Layout(
        "a folder per class",
        lambda tree, top, config: bool(tree.look(top).folders),
        _pictures(folders.list_classes),
    ),
}
"""Name -> how it is known and read; the first that fits is it."""
