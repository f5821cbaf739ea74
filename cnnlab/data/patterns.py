"""Images whose class is a part of the file's name."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cnnlab.config import DataConfig
from cnnlab.data.folders import find_splits, split_folders
from cnnlab.data.listing import Listing, listing
from cnnlab.data.names import nfc
from cnnlab.data.pictures import SUFFIXES, on_disk
from cnnlab.data.tree import Tree
from cnnlab.errors import BadInput, shortened

SECONDS = 10.0
"""What a pattern may take on all names: one like (a+)+b takes for ever on some."""
SEARCH = """
import json, re, sys
pattern, names = json.load(sys.stdin)
matches = map(re.compile(pattern).search, names)
json.dump([match and [match[0], match[match.re.groups and 1]] for match in matches], sys.stdout)
"""
"""Runs in a process of its own, because a search in this process cannot be ended."""


def list_by_pattern(tree: Tree, top: Path, config: DataConfig) -> Listing:
    """The images at any depth below each split's folder, or below the top; other files are passed over, and said."""
    pattern = compiled(config.pattern or "")
    said = f"data.pattern: {shortened(config.pattern or '')}"
    if not pattern.groups:
        raise BadInput(f"{said} has no group; put the class in brackets, as in ([a-z]+)_")
    folders = split_folders(tree, top) if find_splits(tree, top) else {"train": top}
    named = {}
    for split, folder in folders.items():
        files = tree.files(folder)
        images = [path for path in files if path.suffix.lower() in SUFFIXES]
        tree.pass_over([path for path in files if path.suffix.lower() not in SUFFIXES], "not named as an image")
        matches = searched(pattern, [path.name for path in images])
        if split != "train" and not any(matches):
            tree.notes.append(f"passed over, {split} without classes: {folder}; {split} is held out of train")
            continue
        if without := [path for path, match in zip(images, matches, strict=True) if not match or not match[1]]:
            raise BadInput(
                f"{said} finds no class in {without[0].name} "
                f"({len(without):,} of {len(images):,} names in {folder}); change the pattern"
            )
        named[split] = [(on_disk(p), match[1]) for p, match in zip(images, matches, strict=True) if match and match[1]]
    if not named["train"]:
        raise BadInput(f"data.root: {folders['train']} has no images")
    return listing(named)


def compiled(pattern: str) -> "re.Pattern[str]":
    """Raises BadInput for what is no regular expression."""
    try:
        return re.compile(nfc(pattern))
    except (re.error, RecursionError, OverflowError) as error:
        raise BadInput(f"data.pattern: {shortened(pattern)} is not a regular expression ({error})") from None


def searched(pattern: "re.Pattern[str]", names: Sequence[str]) -> list[list[str | None] | None]:
    """For each name the first match and its first group, or None.

    Raises:
        BadInput: it takes longer than SECONDS.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", SEARCH],
            input=json.dumps([pattern.pattern, [*map(nfc, names)]]),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise BadInput(
            f"data.pattern: {shortened(pattern.pattern)} takes longer than {SECONDS:g} s on {len(names):,} names; "
            "leave out a repetition inside a repetition, as in (a+)+"
        ) from None
    found: list[list[str | None] | None] = json.loads(done.stdout)
    return found
