"""One's own images in folders: a folder per class, and folders for the splits above or below them."""

from collections.abc import Collection
from pathlib import Path

from cnnlab.config import DataConfig
from cnnlab.data.listing import Listing, listing
from cnnlab.data.names import SPLITS, side_named, split_named
from cnnlab.data.pictures import on_disk
from cnnlab.data.tree import Tree
from cnnlab.errors import BadInput

DEEPEST = 16
"""The greatest data.depth."""

Classes = dict[str, list[Path]]
"""The name of a class -> its files, in the order of their names."""


def has_split_folders(tree: Tree, top: Path) -> bool:
    """Whether the folders are splits, and not classes of which one is called train (a set of vehicles has one)."""
    folders = tree.look(top).folders
    trains = [folder for folder in folders if split_named(folder.name) == "train"]
    if any(tree.look(folder).folders for folder in trains):
        return True
    return bool(folders) and all(split_named(folder.name) for folder in folders)


def split_folders(tree: Tree, top: Path, used: Collection[str] = ()) -> dict[str, Path]:
    """Split -> its folder; what lies beside them, other than the files of the names `used`, is passed over and noted.

    Raises:
        BadInput: two folders for one split, or none to train on.
    """
    content = tree.look(top)
    found: dict[str, Path] = {}
    for folder in content.folders:
        split = split_named(folder.name)
        if split in found:
            raise BadInput(f"data.root: {found[split]} and {folder} both mean {split}; remove or rename one")
        if split:
            found[split] = folder
    if "train" not in found:
        has = " and ".join(path.name for path in found.values()) or "no split"
        raise BadInput(f"data.root: {top} has {has} but no folder train")
    others = [folder for folder in content.folders if folder not in found.values()]
    tree.pass_over(others, "neither train, val nor test")
    tree.pass_over([path for path in content.files if path.name not in used], "beside the folders")
    return {split: tree.enter(found[split]) for split in SPLITS if split in found}


def list_splits(tree: Tree, top: Path, config: DataConfig) -> Listing:
    """Folders of classes inside train, val and test."""
    folders = split_folders(tree, top)
    tree.notes.append(", ".join(f"{split} is {path.relative_to(top)}" for split, path in folders.items()))
    splits = {split: classes_in(tree, folder, config.depth) for split, folder in folders.items()}
    _check_enough(tree, folders["train"], splits["train"])
    return _listed(splits, folders)


def list_classes(tree: Tree, top: Path, config: DataConfig) -> Listing:
    """Folders of classes, of which the splits are drawn. Raises BadInput for images beside their masks."""
    names = [folder.name for folder in tree.look(top).folders]
    if sorted(map(str, map(side_named, names))) == ["images", "masks"]:
        raise BadInput(
            f"data.root: {top} has the folders {' and '.join(names)}, which are no classes; for a class for each "
            f"pixel: --dataset mask_folder --data-root {top}"
        )
    classes = classes_in(tree, top, config.depth)
    _check_enough(tree, top, classes)
    return _listed({"train": classes}, {"train": top})


def has_splits_inside(tree: Tree, top: Path) -> bool:
    """Whether every folder holds nothing but train and perhaps val and test."""
    folders = tree.look(top).folders
    inside = [[split_named(inner.name) for inner in tree.look(folder).folders] for folder in folders]
    return (
        len(folders) > 1
        and all("train" in names and None not in names for names in inside)
        and not any(tree.look(folder).pictures for folder in folders)
    )


def list_splits_inside(tree: Tree, top: Path) -> Listing:
    """Folders train, val and test inside each class."""
    by_split: dict[str, Classes] = {}
    for folder in tree.look(top).folders:
        for split, inner in split_folders(tree, folder).items():
            by_split.setdefault(split, {})[folder.name] = _not_empty(inner, tree.files(inner))
    tree.pass_over(tree.look(top).files, "beside the folders")
    found = {split: by_split[split] for split in SPLITS if split in by_split}
    tree.notes.append(f"each class has folders for {', '.join(found)}")
    return _listed(found, dict.fromkeys(found, top))


def classes_in(tree: Tree, top: Path, depth: int) -> Classes:
    """The folders that lie `depth` levels down, each with all the files below it; equal names are one class.

    Raises:
        BadInput: one without files, or one that holds the classes once more.
    """
    level = [top]
    for step in range(depth):
        for folder in level:
            content = tree.look(folder)
            _check_links(content.files)
            tree.pass_over(content.files, f"beside the folders in {folder}" if step else "beside the class folders")
        level = [inner for folder in level for inner in tree.look(folder).folders]
    folders = _without_twice(tree, level)
    classes: Classes = {}
    for folder in sorted(folders, key=lambda folder: folder.name):
        classes.setdefault(folder.name, []).extend(_not_empty(folder, tree.files(folder)))
    if len(classes) < len(folders):
        tree.notes.append(f"{len(folders)} folders of {len(classes)} names: those of one name are one class")
    inside = [tree.look(folder) for folder in folders]
    if inside and depth < DEEPEST and all(content.folders and not content.pictures for content in inside):
        first = tree.look(folders[0]).folders[0]
        tree.notes.append(
            f"each class holds folders ({first.relative_to(top)} ..); data.depth={depth + 1} makes these the classes"
        )
    return classes


def _check_enough(tree: Tree, top: Path, classes: Classes) -> None:
    if len(classes) < 2:
        loose = len(tree.look(top).pictures)
        raise BadInput(
            f"data.root: {top} has {len(classes)} class folders{f' and {loose} images' if loose else ''}; "
            "at least 2 are needed, one a class"
        )


def _check_links(files: list[Path]) -> None:
    for path in files:
        if path.is_symlink() and not path.exists():
            raise BadInput(f"data.root: {path} is a link to nothing; mend it or remove it")


def _not_empty(folder: Path, files: list[Path]) -> list[Path]:
    if not files:
        raise BadInput(f"data.root: the class {folder} has no images; put some in or remove the folder")
    return files


def _without_twice(tree: Tree, folders: list[Path]) -> list[Path]:
    """Without a folder that holds the same classes with the same files once more: an archive unpacked inside itself.

    Raises:
        BadInput: it holds the same classes with other files.
    """
    names = {folder.name for folder in folders}
    kept = []
    for folder in folders:
        again = [inner for inner in tree.look(folder).folders if inner.name in names]
        if len(again) < 2:
            kept.append(folder)
        elif (
            len(again) == len(tree.look(folder).folders)
            and not split_named(folder.name)
            and all(inner.name == folder.name or tree.same(inner, folder.parent / inner.name) for inner in again)
        ):
            tree.notes.append(f"{folder} holds {len(again)} of the classes once more, with the same files: passed over")
        else:
            raise BadInput(
                f"data.root: {folder} lies beside {again[0].name} and {again[1].name} and has folders of these names; "
                "remove what was unpacked twice, or put the images to train on into a folder train"
            )
    return kept


def _listed(splits: dict[str, Classes], folders: dict[str, Path]) -> Listing:
    train = splits["train"]
    for split, classes in splits.items():
        if missing := sorted(train.keys() - classes.keys()):
            raise BadInput(f"data.root: {folders[split]} has no class {missing[0]}, which {folders['train']} has")
        if extra := sorted(classes.keys() - train.keys()):
            raise BadInput(f"data.root: {folders[split]} has a class {extra[0]}, which {folders['train']} has not")
    return listing(
        {
            split: [(on_disk(path), name) for name in train for path in classes[name]]
            for split, classes in splits.items()
        },
        train,
    )
