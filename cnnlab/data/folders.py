"""One's own images in folders: a folder per class, and folders for the splits above or below them."""

from collections.abc import Collection
from pathlib import Path

from cnnlab.config import DataConfig
from cnnlab.data.listing import Listing, listing
from cnnlab.data.names import SPLITS, nfc, side_named, split_in, split_named, splits_in
from cnnlab.data.pictures import on_disk
from cnnlab.data.tree import Tree
from cnnlab.errors import BadInput

DEEPEST = 16
"""The greatest data.depth."""

Classes = dict[str, list[Path]]
"""The name of a class -> its files, in the order of their names."""


def find_splits(tree: Tree, top: Path) -> dict[Path, str]:
    """The folders that are splits (`seg_train`, `seg_test`), and of which.

    None are if the folders are classes, of which one may be called train (a set of vehicles has one) or test_tube.
    """
    folders = tree.look(top).folders
    by_rest: dict[str, dict[Path, str]] = {}
    for folder, (split, rest) in zip(folders, splits_in([folder.name for folder in folders]), strict=True):
        if split:
            by_rest.setdefault(rest, {})[folder] = split
    whole = by_rest.get("", {})
    if any(split == "train" and tree.look(folder).folders for folder, split in whole.items()):
        return whole
    pairs = [some for some in by_rest.values() if len({*some.values()}) > 1]
    named = {folder: split for some in pairs or by_rest.values() for folder, split in some.items()}
    mixed = len({*named.values()}) > 1 and 2 * len(named) > len(folders)
    return named if pairs or mixed or len(whole) == len(folders) else {}


def split_folders(tree: Tree, top: Path, used: Collection[str] = ()) -> dict[str, Path]:
    """Split -> its folder; what lies beside them, other than the files of the names `used`, is passed over and noted.

    Raises:
        BadInput: two folders for one split, or none to train on.
    """
    content = tree.look(top)
    found: dict[str, Path] = {}
    whole = {folder: split for folder in content.folders if (split := split_named(folder.name))}
    for folder, split in (find_splits(tree, top) or whole).items():
        if split in found:
            raise BadInput(
                f"data.root: {found[split]} and {folder} both mean {split}; keep one of them, "
                f"or move the folders of all classes into one folder {split}"
            )
        found[split] = folder
    if "train" not in found:
        has = " and ".join(path.name for path in found.values()) or "no split"
        raise BadInput(f"data.root: {top} has {has} but no folder train; put the training images there")
    others = [folder for folder in content.folders if folder not in found.values()]
    tree.pass_over(others, "neither train, val nor test")
    tree.pass_over([path for path in content.files if path.name not in used], "beside the folders")
    return {split: tree.enter(found[split]) for split in SPLITS if split in found}


def list_splits(tree: Tree, top: Path, config: DataConfig) -> Listing:
    """Folders of classes inside train, val and test."""
    folders = split_folders(tree, top)
    splits = {split: classes_in(tree, folder, config.depth) for split, folder in folders.items()}
    _check_enough(tree, folders["train"], splits["train"])
    for split, classes in list(splits.items()):
        if len(classes) < 2 and not classes.keys() & splits["train"].keys():
            tree.notes.append(f"passed over, {split} without classes: {folders[split]}; {split} is held out of train")
            del splits[split]
    tree.notes.append(", ".join(f"{split} is {folders[split].relative_to(top)}" for split in splits))
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
    tree.notes.extend(f"{name} is read as a class, not as a split" for name in classes if split_in(name)[0])
    return _listed({"train": classes}, {"train": top})


def has_splits_inside(tree: Tree, top: Path) -> bool:
    """Whether every folder holds nothing but train and perhaps val and test."""
    folders = tree.look(top).folders
    return len(folders) > 1 and all(
        "train" in (splits := find_splits(tree, folder)).values()
        and len(splits) == len(tree.look(folder).folders)
        and not tree.look(folder).pictures
        for folder in folders
    )


def list_splits_inside(tree: Tree, top: Path) -> Listing:
    """Folders train, val and test inside each class."""
    by_split: dict[str, Classes] = {}
    for folder in tree.look(top).folders:
        for split, inner in split_folders(tree, folder).items():
            files = by_split.setdefault(split, {}).setdefault(nfc(folder.name), [])
            files.extend(_not_empty(inner, tree.files(inner)))
    tree.pass_over(tree.look(top).files, "beside the folders")
    found = {split: by_split[split] for split in SPLITS if split in by_split}
    tree.notes.append(f"each class has folders for {', '.join(found)}")
    return _listed(found, {split: top / "*" / split for split in found})


def classes_in(tree: Tree, top: Path, depth: int) -> Classes:
    """The folders that lie `depth` levels down, each with all the files below it; equal names are one class.

    Raises:
        BadInput: one without files, with splits of its own, or with the classes once more.
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
        if len({*(splits := find_splits(tree, folder)).values()}) > 1:
            raise BadInput(
                f"data.root: {folder} has folders for splits ({', '.join(inner.name for inner in splits)}); "
                "give every class folder such folders and nothing beside them, or none"
            )
        classes.setdefault(nfc(folder.name), []).extend(_not_empty(folder, tree.files(folder)))
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
            f"data.root: {top} has {len(classes)} class folders{f' and {loose:,} images' if loose else ''}; "
            "at least 2 are needed, one per class"
            + "; if the file names hold the class, as in cat_001.jpg, add --set data.pattern='^([a-z]+)'"
            * bool(loose)
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
    by_name = {nfc(folder.name): folder for folder in folders}
    kept = []
    for folder in folders:
        again = [inner for inner in tree.look(folder).folders if nfc(inner.name) in by_name]
        if len(again) < 2:
            kept.append(folder)
        elif (
            len(again) == len(tree.look(folder).folders)
            and not split_named(folder.name)
            and all(inner.name == folder.name or tree.same(inner, by_name[nfc(inner.name)]) for inner in again)
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
            raise BadInput(
                f"data.root: {folders[split]} has no class {missing[0]}, which {folders['train']} has; "
                f"add it, or move {folders[split]} away, so that {split} is held out of train"
            )
        if extra := sorted(classes.keys() - train.keys()):
            raise BadInput(
                f"data.root: {folders[split]} has a class {extra[0]}, which {folders['train']} does not have; "
                "add it there or remove it"
            )
    return listing(
        {
            split: [(on_disk(path), name) for name in train for path in classes[name]]
            for split, classes in splits.items()
        },
        train,
    )
