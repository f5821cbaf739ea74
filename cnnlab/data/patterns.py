"""Images whose class is a part of the file's name."""

import re
from pathlib import Path

from cnnlab.config import DataConfig
from cnnlab.data.folders import find_splits, split_folders
from cnnlab.data.listing import Listing, listing
from cnnlab.data.names import nfc
from cnnlab.data.pictures import SUFFIXES, on_disk
from cnnlab.data.tree import Tree
from cnnlab.errors import BadInput


def list_by_pattern(tree: Tree, top: Path, config: DataConfig) -> Listing:
    """The images at any depth below each split's folder, or below the top; other files are passed over, and said."""
    pattern = compiled(config.pattern or "")
    if not pattern.groups:
        raise BadInput(f"data.pattern: {config.pattern} has no group; put the class in brackets, as in ([a-z]+)_")
    folders = split_folders(tree, top) if find_splits(tree, top) else {"train": top}
    named = {}
    for split, folder in folders.items():
        files = tree.files(folder)
        images = [path for path in files if path.suffix.lower() in SUFFIXES]
        tree.pass_over([path for path in files if path.suffix.lower() not in SUFFIXES], "not named as an image")
        matches = [pattern.search(nfc(path.name)) for path in images]
        if split != "train" and not any(matches):
            tree.notes.append(f"passed over, {split} without classes: {folder}; {split} is held out of train")
            continue
        if without := [path for path, match in zip(images, matches, strict=True) if not match or not match[1]]:
            raise BadInput(
                f"data.pattern: {config.pattern} finds no class in {without[0].name} "
                f"({len(without):,} of {len(images):,} names in {folder}); change the pattern"
            )
        named[split] = [(on_disk(path), match[1]) for path, match in zip(images, matches, strict=True) if match]
    if not named["train"]:
        raise BadInput(f"data.root: {folders['train']} has no images")
    return listing(named)


def compiled(pattern: str) -> "re.Pattern[str]":
    """Raises BadInput for what is no regular expression."""
    try:
        return re.compile(nfc(pattern))
    except re.error as error:
        raise BadInput(f"data.pattern: {pattern} is not a regular expression ({error})") from None
