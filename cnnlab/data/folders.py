"""Image files whose class is in the name of their folder, or in their file's name."""

import json
import re
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from cnnlab.config import DataConfig
from cnnlab.data.kinds import bad_files
from cnnlab.data.listing import Listing
from cnnlab.data.pictures import on_disk
from cnnlab.data.tree import SPLITS, Tree, nfc, split_in, split_named, splits_in
from cnnlab.errors import BadInput, shortened

DEEPEST = 16
"""The greatest data.depth."""
SECONDS = 10.0
"""The most time that a pattern may take on all names: one like (a+)+b takes for ever on some."""
SEARCH = """
import json, re, sys
pattern, names = json.load(sys.stdin)
matches = map(re.compile(pattern).search, names)
json.dump([match and [match[0], match[match.re.groups and 1]] for match in matches], sys.stdout)
"""
"""Runs in another process, because a search in this process cannot be ended."""

_SIDES = {
    "images": r"(jpeg)?images?|imgs?|pictures?|photos?",
    "masks": r"masks?|labels?|annotations?|annots?|gt|groundtruth|seg|segmentations?|segmentationclass",
}

Classes = dict[str, list[Path]]
"""The name of a class -> its files, in the order of their names."""


def side_named(name: str) -> str | None:
    """Whether a folder's name, in any case, means the "images" or the "masks" of a segmentation."""
    plain = re.sub(r"[\W_]+", "", name.lower())
    return next((side for side, words in _SIDES.items() if re.fullmatch(words, plain)), None)


def find_splits(tree: Tree, top: Path) -> dict[Path, str]:
    """The folders that are splits (`seg_train`, `seg_test`) -> their split.

    Empty if the folders are classes, of which one may be called train (a set of vehicles has one) or test_tube.
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
    """Split -> its folder. What is beside them is passed over, except files of the names `used`.

    Raises BadInput if there are two folders for one split, or none for train.
    """
    content = tree.look(top)
    by_split: dict[str, Path] = {}
    whole = {folder: split for folder in content.folders if (split := split_named(folder.name))}
    for folder, split in (find_splits(tree, top) or whole).items():
        if split in by_split:
            raise bad_files(
                f"{by_split[split]} and {folder} both mean {split}; keep one of them, "
                f"or move the folders of all classes into one folder {split}"
            )
        by_split[split] = folder
    if "train" not in by_split:
        has = " and ".join(path.name for path in by_split.values()) or "no split"
        raise bad_files(f"{top} has {has} but no folder train; put the training images there")
    others = [folder for folder in content.folders if folder not in by_split.values()]
    tree.pass_over(others, "neither train, val nor test")
    tree.pass_over([path for path in content.files if path.name not in used], "beside the folders")
    return {split: tree.enter(by_split[split]) for split in SPLITS if split in by_split}


def list_splits(tree: Tree, top: Path, config: DataConfig) -> Listing | None:
    """Folders of classes inside train, val and test; None if there are no such splits."""
    if not find_splits(tree, top):
        return None
    folders = split_folders(tree, top)
    splits = {split: _classes_in(tree, folder, config.depth) for split, folder in folders.items()}
    _check_enough(tree, folders["train"], splits["train"])
    for split, classes in list(splits.items()):
        if len(classes) < 2 and not classes.keys() & splits["train"].keys():
            _pass_over_split(tree, split, folders[split])
            del splits[split]
    tree.notes.append(", ".join(f"{split} is {folders[split].relative_to(top)}" for split in splits))
    return _listed(splits, folders)


def list_classes(tree: Tree, top: Path, config: DataConfig) -> Listing | None:
    """Folders of classes, from which splits are held out; None without folders."""
    names = [folder.name for folder in tree.look(top).folders]
    if not names:
        return None
    if sorted(map(str, map(side_named, names))) == ["images", "masks"]:
        raise bad_files(
            f"{top} has the folders {' and '.join(names)}, which are no classes; for a class for each "
            f"pixel: --dataset mask_folder --data-root {top}"
        )
    classes = _classes_in(tree, top, config.depth)
    _check_enough(tree, top, classes)
    tree.notes.extend(f"{name} is read as a class, not as a split" for name in classes if split_in(name)[0])
    return _listed({"train": classes}, {"train": top})


def list_splits_inside(tree: Tree, top: Path, config: DataConfig) -> Listing | None:
    """Folders train, val and test inside each class; None if any folder holds something else."""
    folders = tree.look(top).folders
    for folder in folders:
        splits, content = find_splits(tree, folder), tree.look(folder)
        if "train" not in splits.values() or len(splits) < len(content.folders) or content.pictures:
            return None
    if len(folders) < 2:
        return None
    by_split: dict[str, Classes] = {}
    for folder in folders:
        for split, inner in split_folders(tree, folder).items():
            files = by_split.setdefault(split, {}).setdefault(nfc(folder.name), [])
            files.extend(_not_empty(inner, tree.files(inner)))
    tree.pass_over(tree.look(top).files, "beside the folders")
    ordered = {split: by_split[split] for split in SPLITS if split in by_split}
    tree.notes.append(f"each class has folders for {', '.join(ordered)}")
    return _listed(ordered, {split: top / "*" / split for split in ordered})


def _pass_over_split(tree: Tree, split: str, folder: Path) -> None:
    tree.notes.append(f"passed over, {split} without classes: {folder}; {split} is held out of train")


def _classes_in(tree: Tree, top: Path, depth: int) -> Classes:
    """The folders `depth` levels down, each with all files below it; folders of one name are one class.

    Raises BadInput if a folder is empty, has splits or has the classes again, or a file is a link to nothing.
    """
    level = [top]
    for step in range(depth):
        for folder in level:
            files = tree.look(folder).files
            if broken := [path for path in files if path.is_symlink() and not path.exists()]:
                raise bad_files(f"{broken[0]} is a link to nothing; mend it or remove it")
            tree.pass_over(files, f"beside the folders in {folder}" if step else "beside the class folders")
        level = [inner for folder in level for inner in tree.look(folder).folders]
    names = {nfc(folder.name) for folder in level}
    classes: Classes = {}
    for folder in sorted(level, key=lambda folder: folder.name):
        again = [inner.name for inner in tree.look(folder).folders if nfc(inner.name) in names]
        if len(again) > 1:
            raise bad_files(
                f"{folder} lies beside {again[0]} and {again[1]} and has folders of these names; "
                "remove what was unpacked twice, or put the images to train on into a folder train"
            )
        if len({*(splits := find_splits(tree, folder)).values()}) > 1:
            raise bad_files(
                f"{folder} has folders for splits ({', '.join(inner.name for inner in splits)}); "
                "give every class folder such folders and nothing beside them, or none"
            )
        classes.setdefault(nfc(folder.name), []).extend(_not_empty(folder, tree.files(folder)))
    if len(classes) < len(level):
        tree.notes.append(f"{len(level)} folders of {len(classes)} names: those of one name are one class")
    inside = [tree.look(folder) for folder in level]
    if inside and depth < DEEPEST and all(content.folders and not content.pictures for content in inside):
        first = tree.look(level[0]).folders[0]
        tree.notes.append(
            f"each class holds folders ({first.relative_to(top)} ..); data.depth={depth + 1} makes these the classes"
        )
    return classes


def _not_empty(folder: Path, files: list[Path]) -> list[Path]:
    if not files:
        raise bad_files(f"the class {folder} has no images; put some in or remove the folder")
    return files


def _check_enough(tree: Tree, top: Path, classes: Classes) -> None:
    if len(classes) < 2:
        loose = len(tree.look(top).pictures)
        raise bad_files(
            f"{top} has {len(classes)} class folders{f' and {loose:,} images' if loose else ''}; "
            "at least 2 are needed, one per class"
            + "; if the file names hold the class, as in cat_001.jpg, add --set data.pattern='^([a-z]+)'"
            * bool(loose)
        )


def _listed(splits: dict[str, Classes], folders: dict[str, Path]) -> Listing:
    train = splits["train"]
    for split, classes in splits.items():
        if missing := sorted(train.keys() - classes.keys()):
            raise bad_files(
                f"{folders[split]} has no class {missing[0]}, which {folders['train']} has; "
                f"add it, or move {folders[split]} away, so that {split} is held out of train"
            )
    named = {
        split: [
            (on_disk(path), name) for name in (*train, *sorted(classes.keys() - train.keys())) for path in classes[name]
        ]
        for split, classes in splits.items()
    }
    return Listing(named, (*train,))


def list_by_pattern(tree: Tree, top: Path, config: DataConfig) -> Listing | None:
    """The images at any depth below each split's folder, or below the top; None without data.pattern."""
    if not config.pattern:
        return None
    quoted = f"data.pattern: {shortened(config.pattern)}"
    if not compiled(config.pattern).groups:
        raise BadInput(f"{quoted} has no group; put the class in brackets, as in ([a-z]+)_")
    folders = split_folders(tree, top) if find_splits(tree, top) else {"train": top}
    named = {}
    for split, folder in folders.items():
        images, others = tree.pictures(folder)
        tree.pass_over(others, "not named as an image")
        matches = search(config.pattern, [path.name for path in images])
        if split != "train" and not any(matches):
            _pass_over_split(tree, split, folder)
            continue
        classes = [match[1] if match else None for match in matches]
        if without := [path for path, name in zip(images, classes, strict=True) if not name]:
            raise BadInput(
                f"{quoted} finds no class in {without[0].name} "
                f"({len(without):,} of {len(images):,} names in {folder}); change the pattern"
            )
        named[split] = [(on_disk(path), name) for path, name in zip(images, classes, strict=True) if name]
    if not named["train"]:
        raise bad_files(f"{folders['train']} has no images")
    return Listing(named)


def compiled(pattern: str) -> "re.Pattern[str]":
    """Raises BadInput if it is no regular expression."""
    try:
        return re.compile(nfc(pattern))
    except (re.error, RecursionError, OverflowError) as error:
        raise BadInput(f"data.pattern: {shortened(pattern)} is not a regular expression ({error})") from None


def search(pattern: str, names: Sequence[str]) -> list[list[str | None] | None]:
    """For each name the first match and its first group, or None. Raises BadInput after SECONDS."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", SEARCH],
            input=json.dumps([compiled(pattern).pattern, [*map(nfc, names)]]),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise BadInput(
            f"data.pattern: {shortened(pattern)} takes longer than {SECONDS:g} s on {len(names):,} names; "
            "leave out a repetition inside a repetition, as in (a+)+"
        ) from None
    matches: list[list[str | None] | None] = json.loads(done.stdout)
    return matches
