"""One's own images: every layout that people have, made here in its exact form; names, junk, what is said."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from cnnlab.data import describe, load
from cnnlab.data.tree import is_junk, split_named
from cnnlab.errors import BadInput
from tests.files import caches, config, load_folder, noise, picture, pictures


def test_a_folder_a_class_any_size() -> None:
    pictures(Path("mine"))
    dataset = load(config(dataset="folder", root="mine", resize=16, batch_size=4), 0)
    assert dataset.classes == ("blue", "red")
    assert dataset.image_shape == (3, 16, 16)
    assert [len(s) for s in (dataset.train, dataset.val, dataset.test)] == [14, 2, 4]
    red = dataset.train.inputs[dataset.train.targets == 1].float().mean((0, 2, 3))
    assert red.tolist() == pytest.approx([250, 10, 10], abs=2)


def test_splits_of_ones_own_are_kept() -> None:
    for split, count in (("train", 6), ("val", 3), ("test", 2)):
        pictures(Path("mine", split), count)
    dataset = load(config(dataset="folder", root="mine", batch_size=4), 0)
    assert [len(s) for s in (dataset.train, dataset.val, dataset.test)] == [12, 6, 4]
    assert dataset.image_shape == (3, 64, 64)
    for split in (dataset.train, dataset.val, dataset.test):
        red_rather_than_blue = split.inputs[:, 0].float().mean((1, 2)) > split.inputs[:, 2].float().mean((1, 2))
        assert torch.equal(red_rather_than_blue.long(), split.targets)


def test_the_shorter_side_is_scaled_the_centre_kept_and_exif_obeyed() -> None:
    pictures(Path("mine"))
    wide = Image.new("RGB", (90, 30), (0, 0, 0))
    wide.paste((255, 255, 255), (30, 0, 60, 30))
    wide.paste((255, 0, 0), (30, 0, 60, 15))  # the upper half of the centre is red
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    wide.save("mine/red/wide.png", exif=exif)
    dataset = load(config(dataset="folder", root="mine", resize=30, batch_size=4), 0)
    everything = torch.cat([s.inputs for s in (dataset.train, dataset.val, dataset.test)])
    found = next(image for image in everything if image[0].min() == 255)
    assert found[1, 2:13].float().mean() > 250  # turned: the red half is below
    assert found[1, 17:28].float().mean() < 5


FOLDERS = {
    "no root": (lambda: None, {}, "data.root: the dataset folder needs --data-root"),
    "no such folder": (lambda: None, {"root": "nowhere"}, "nowhere is not a folder"),
    "one class": (lambda: picture(Path("mine/red/1.png"), (1, 2, 3)), {"root": "mine"}, "has 1 class folders"),
    "an empty class": (
        lambda: (pictures(Path("mine")), Path("mine/green").mkdir()),
        {"root": "mine"},
        "the class mine/green has no images",
    ),
    "a broken file": (
        lambda: (pictures(Path("mine")), Path("mine/red/broken.png").write_bytes(b"no image")),
        {"root": "mine"},
        "mine/red/broken.png is not an image",
    ),
    "a truncated file": (
        lambda: (
            pictures(Path("mine")),
            Path("mine/blue/0.jpg").write_bytes(Path("mine/blue/0.jpg").read_bytes()[:400]),
        ),
        {"root": "mine"},
        "mine/blue/0.jpg is not an image",
    ),
    "a class missing from a split": (
        lambda: (
            pictures(Path("mine/train")),
            picture(Path("mine/val/red/1.png"), (1, 2, 3)),
            picture(Path("mine/val/pink/1.png"), (1, 2, 3)),
        ),
        {"root": "mine"},
        "mine/val has no class blue, which mine/train has",
    ),
    "a near name": (
        lambda: pictures(Path("pictures/mine")),
        {"root": "pictrues/mine"},
        "; did you mean pictures/mine?",
    ),
    "an empty name": (lambda: None, {"root": ""}, "data.root: the dataset folder needs --data-root"),
    "a long name": (lambda: None, {"root": "x" * 300}, "cannot be opened (File name too long)"),
    "nobody's home": (lambda: None, {"root": "~nobodyx/y"}, "data.root: the home directory in ~nobodyx/y is not known"),
    "a link to nothing": (
        lambda: (pictures(Path("mine")), Path("mine/red/link.png").symlink_to("nowhere.png")),
        {"root": "mine"},
        "mine/red/link.png is not an image that can be read (it is no file, or a link to nothing)",
    ),
    "a class that is a link to nothing": (
        lambda: (pictures(Path("mine")), Path("mine/green").symlink_to("nowhere")),
        {"root": "mine"},
        "data.root: mine/green is a link to nothing",
    ),
    "a pipe": (
        lambda: (pictures(Path("mine")), os.mkfifo("mine/red/pipe.png")),
        {"root": "mine"},
        "mine/red/pipe.png is not an image that can be read (it is no file",
    ),
    "classes too small to hold anything out": (
        lambda: pictures(Path("mine"), 2),
        {"root": "mine"},
        "data.root: class 'blue' has 2 images; at least 3 are needed (1 each for train, val and test); add more",
    ),
    "classes too small for a test": (
        lambda: (pictures(Path("mine/train"), 1), pictures(Path("mine/val"), 1)),
        {"root": "mine"},
        "data.root: class 'blue' has 1 image; at least 2 are needed (1 each for train and test); add more",
    ),
    "nothing but broken files in a class": (
        lambda: (pictures(Path("mine")), Path("mine/z").mkdir(), Path("mine/z/1.png").write_bytes(b"no")),
        {"root": "mine", "skip_broken": True},
        "the class z of train has no file that is an image",
    ),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_wrong_folder_is_one_line_that_names_what_is_wrong(case: str) -> None:
    make, settings, said = FOLDERS[case]
    make()
    with pytest.raises(BadInput) as caught:
        load(config(dataset="folder", batch_size=4, **settings), 0)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_broken_files_are_skipped_and_counted_if_one_asks() -> None:
    pictures(Path("mine"))
    Path("mine/red/broken.png").write_bytes(b"no image")
    Path("mine/red/link.png").symlink_to("nowhere.png")
    os.mkfifo("mine/blue/pipe.png")
    for _ in range(2):  # the second time from the cache
        dataset = load(config(dataset="folder", root="mine", batch_size=4, skip_broken=True), 0)
        assert dataset.skipped == 3
        (note,) = [note for note in dataset.notes if note.startswith("skipped: ")]
        assert re.findall(r"mine/\w+/\w+\.png", note) == [
            "mine/blue/pipe.png",
            "mine/red/broken.png",
            "mine/red/link.png",
        ]
        assert len(dataset.train) + len(dataset.val) + len(dataset.test) == 20


def test_the_number_of_skipped_images_is_in_the_panel_and_in_the_json(cli: Callable[..., Any]) -> None:
    pictures(Path("mine"))
    Path("mine/red/broken.png").write_bytes(b"no image")
    ours = ("train", "mine", "-s", "data.skip_broken=true", "--batch-size", "4", "--epochs", "1", "--quiet")
    panel = cli(*ours, "--tracking-uri", "none")
    assert re.search(r"skipped +1 image that cannot be read", panel.stdout)
    assert json.loads(cli("show", "last", "--json").stdout)["skipped_images"] == 1


def test_all_files_that_cannot_be_read_are_named_and_texts_are_not_counted() -> None:
    pictures(Path("mine"))
    Path("mine/red/README.txt").write_text("of mine")
    Path("mine/blue/about").write_text("of \u00e9t\u00e9")
    assert "passed over, text files (2): mine/blue/about, mine/red/README.txt" in load_folder().notes
    assert load_folder().skipped == 0
    Path("mine/red/00.jpg").write_text("text")
    Path("mine/red/01.png").write_bytes(b"")
    for index in range(10):
        Path(f"mine/red/x{index}.bin").write_bytes(b"\0\1\2")
    named = (
        "mine/red/00.jpg is not an image that can be read (a text file), nor are mine/red/01.png (empty), "
        "mine/red/x0.bin (its format is not known), "
        + "".join(f"mine/red/x{index}.bin, " for index in range(1, 8))
        + "...: 12 files"
    )
    with pytest.raises(BadInput) as caught:
        load_folder()
    assert str(caught.value).startswith(f"data.root: {named}; remove them, or skip such files with --set ")
    dataset = load_folder(skip_broken=True)
    assert dataset.skipped == 12
    assert f"skipped: {named}" in dataset.notes


def test_an_image_of_two_classes_is_refused_unless_one_asks() -> None:
    noise(Path("mine"), ("cat", "dog"), 8)
    noise(Path("mine/dog"), ("more",), 1)
    for index in range(4):
        shutil.copy(f"mine/cat/cat_{index}.png", f"mine/dog/more/{index}.png")
    shutil.copy("mine/cat/cat_7.png", "mine/cat/again.png")  # of one class: no conflict
    first = "; ".join(f"mine/cat/cat_{index}.png (cat) and mine/dog/more/{index}.png (dog)" for index in range(3))
    said = f"4 images with several labels: {first}; ..."
    for _ in range(2):  # the second time from the cache
        with pytest.raises(BadInput) as caught:
            load_folder()
        assert str(caught.value) == (
            f"data.root: {said}; keep one of each, or train on them as they are with "
            "--set data.allow_conflicting_labels=true"
        )
    assert said in load_folder(allow_conflicting_labels=True).notes
    assert len(caches()) == 1


@pytest.mark.parametrize("unreadable", ["mine", "mine/red"])
def test_a_folder_that_cannot_be_read_is_not_called_empty(unreadable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(Path("mine"))

    def refused(look: Callable[[object], object]) -> Callable[[object], object]:  # root may read everything
        def looked(path: object) -> object:
            if str(path) == unreadable:
                raise PermissionError(13, "Permission denied", unreadable)
            return look(path)

        return looked

    monkeypatch.setattr(os, "listdir", refused(os.listdir))
    monkeypatch.setattr(os, "scandir", refused(os.scandir))
    with pytest.raises(BadInput, match=rf"data\.root: {unreadable} cannot be read \(Permission denied\)"):
        load(config(dataset="folder", root="mine", batch_size=4), 0)


@pytest.mark.skipif(sys.platform == "darwin", reason="its names are text")
def test_names_that_are_no_text_are_shown_by_their_bytes() -> None:
    root = os.fsdecode(b"mine\xfe")
    pictures(Path(root))
    Path(root, "red").rename(Path(root, os.fsdecode(b"r\xffd")))
    Path(root, "blue", "0.jpg").rename(Path(root, "blue", os.fsdecode(b"\xe9.jpg")))
    for _ in range(2):  # the second time from the cache
        dataset = load(config(dataset="folder", root=root, batch_size=4), 0)
        assert dataset.classes == ("blue", "r\\xffd")
        assert dataset.source.endswith("mine\\xfe")
    assert len(caches()) == 1


def test_large_images_are_decoded_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(Path("mine"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)  # Pillow warns, and here a warning is an error
    assert len(load(config(dataset="folder", root="mine", batch_size=4), 0).train) == 14


# names of splits and of junk


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *(
            (name, "train")
            for name in ("train", "Train", "TRAIN", "training", "training_set", "Training Set", "trainset")
        ),
        *((name, "val") for name in ("val", "valid", "Validation", "dev", "validation_set", "val2017", "valid-images")),
        *((name, "test") for name in ("test", "Test", "testing", "test_set", "TEST_IMAGES", "test1", "evaluation")),
        *((name, None) for name in ("trains", "contest", "testament", "devon", "cat", "value", "1", "_")),
    ],
)
def test_names_of_splits_in_any_case_and_spelling(name: str, split: str | None) -> None:
    assert split_named(name) == split


@pytest.mark.parametrize(
    "named",
    [
        {"train": "Train", "test": "Test"},
        {"train": "TRAIN", "test": "TEST"},
        {"train": "training", "val": "validation"},
        {"train": "train", "val": "valid"},
        {"train": "Training", "test": "Test"},
        {"train": "train", "val": "valid", "test": "test"},
        {"train": "Training_Set", "val": "dev", "test": "Test-Set"},
        {"train": "training_set/training_set", "test": "test_set/test_set"},
        {"train": "seg_train/seg_train", "test": "seg_test/seg_test"},
        {"train": "1_train", "val": "2_val", "test": "3_test"},
        {"train": "tr", "val": "va", "test": "te"},
        {"train": "train_images", "test": "test_images"},
        {"train": "pets-train", "val": "pets-val", "test": "pets-test"},
        {"train": "petsTrain", "test": "petsTest"},
        {"train": "trainval", "test": "test"},
        {"train": "train_ours", "test": "test_theirs"},
    ],
    ids=lambda named: "-".join(named.values()),
)
@pytest.mark.parametrize("beside", [None, "seg_pred/seg_pred"])
def test_split_folders_are_recognised_and_which_is_which_is_said(named: dict[str, str], beside: str | None) -> None:
    sizes = dict(zip(named, (10, 4, 3), strict=False))
    for seed, (split, size) in enumerate(sizes.items()):
        noise(Path("mine", named[split]), ("cat", "dog"), size, seed)
    if beside and named["train"] != "tr":
        noise(Path("mine"), (beside,), 0)
    dataset = load_folder()
    assert dataset.classes == ("cat", "dog")
    for split, size in sizes.items():
        if split != "train":
            assert len(getattr(dataset, split)) == 2 * size
    assert sum(len(split) for split in (dataset.train, dataset.val, dataset.test)) == 2 * sum(sizes.values())
    assert dataset.held_out == tuple(split for split in ("val", "test") if split not in named)
    assert ", ".join(f"{split} is {name}" for split, name in named.items()) in dataset.notes
    assert ("test 4 (held out of train)" in describe(dataset)[0]) == ("test" not in named)


@pytest.mark.parametrize(
    "classes",
    [
        ("bus", "train", "tram"),
        ("beaker", "flask", "pipette", "test_tube"),
        ("bullet_train", "steam_train"),
        ("bus", "car", "ship", "test_tube", "train"),
        ("de", "fr", "te", "tr"),
        ("invalid", "valid"),
    ],
    ids=" ".join,
)
def test_a_class_may_have_the_name_of_a_split(classes: tuple[str, ...]) -> None:
    noise(Path("mine"), classes, 5)
    dataset = load_folder()
    assert dataset.classes == classes
    notes = {note for note in dataset.notes if "is read as a class" in note}
    like_splits = [name for name in classes if {"train", "test", "valid"} & {*name.split("_")}]
    assert notes == {f"{name} is read as a class, not as a split" for name in like_splits}


def unpacked_twice() -> None:
    noise(Path("mine"), ("cat", "dog"), 5)
    shutil.copytree("mine", "copy")
    shutil.move("copy", "mine/PlantVillage")


def test_an_archive_unpacked_inside_a_folder_of_its_own_name() -> None:
    noise(Path("mine/PlantVillage/PlantVillage"), ("cat", "dog"), 5)
    dataset = load_folder()
    assert dataset.classes == ("cat", "dog")
    assert "PlantVillage/PlantVillage was read, the only folder in mine" in dataset.notes


def test_two_folders_of_the_same_classes_and_files_are_refused() -> None:
    noise(Path("mine/PlantVillage"), ("cat", "dog"), 5)
    shutil.copytree("mine/PlantVillage", "mine/plantvillage/PlantVillage")
    with pytest.raises(BadInput, match="10 images with several labels"):
        load_folder()
    dataset = load_folder(allow_conflicting_labels=True)
    assert dataset.classes == ("PlantVillage", "plantvillage")
    assert "classes whose names differ in capitals alone: PlantVillage, plantvillage" in dataset.notes


AMBIGUOUS = {
    "the same classes with the same files": (
        unpacked_twice,
        "mine/PlantVillage lies beside cat and dog and has folders of these names; remove what was unpacked twice",
    ),
    "the same classes with other files": (
        lambda: (unpacked_twice(), Path("mine/PlantVillage/cat/cat_0.png").unlink()),
        "mine/PlantVillage lies beside cat and dog and has folders of these names; remove what was unpacked twice",
    ),
    "classes at the top and in test": (
        lambda: (noise(Path("mine"), ("cat", "dog"), 5), noise(Path("mine/test"), ("cat", "dog"), 5, 1)),
        "mine/test lies beside cat and dog and has folders of these names",
    ),
    "two validation folders": (
        lambda: [noise(Path("mine", name), ("cat", "dog"), 5) for name in ("train", "val", "valid")],
        "mine/val and mine/valid both mean val; keep one of them",
    ),
    "nothing to train on": (
        lambda: [noise(Path("mine", name), ("cat", "dog"), 5) for name in ("test", "val")],
        "mine has test and val but no folder train",
    ),
    "splits without classes": (
        lambda: noise(Path("mine"), ("train", "test"), 5),
        "mine/train has 0 class folders and 5 images; at least 2 are needed, one per class; if the file names hold the",
    ),
    "splits without classes, beside other folders": (
        lambda: noise(Path("mine"), ("my_train", "my_test", "scans", "notes", "others"), 5),
        "mine/my_train has 0 class folders and 5 images",
    ),
    "val and test beside the classes": (
        lambda: noise(Path("mine"), ("cat", "dog", "emu", "test", "val"), 5),
        "mine has test and val but no folder train; put the training images there",
    ),
    "splits of each class": (
        lambda: noise(Path("mine"), ("cats_train", "cats_test", "dogs_train", "dogs_test"), 5),
        "mine/cats_test and mine/dogs_test both mean test; keep one of them, or move the folders of all classes into "
        "one folder test",
    ),
    "two folders to train on": (
        lambda: noise(Path("mine"), ("train_a", "train_b", "test", "extra"), 5),
        "mine/train_a and mine/train_b both mean train",
    ),
    "splits inside one class alone": (
        lambda: (noise(Path("mine"), ("cat", "dog"), 5), noise(Path("mine/cat"), ("train", "test"), 5)),
        "mine/cat has folders for splits (test, train); give every class folder such folders",
    ),
    "a class whose folder has no test": (
        lambda: (noise(Path("mine/cat"), ("train", "test"), 5), noise(Path("mine/dog"), ("train",), 5)),
        "mine/*/test has no class dog, which mine/*/train has; add it, or move mine/*/test away, so that test is held",
    ),
    "images alone": (
        lambda: noise(Path("."), ("mine",), 4),
        "mine has 4 images, no other files, no folders at the top; arrange it as one of these: ",
    ),
    "a class that test has not got": (
        lambda: (noise(Path("mine/train"), ("cat", "dog"), 5), noise(Path("mine/test"), ("cat",), 5)),
        "mine/test has no class dog, which mine/train has; add it, or move mine/test away, so that test is held out",
    ),
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_what_could_mean_two_things_is_refused_in_one_line(case: str) -> None:
    make, said = AMBIGUOUS[case]
    make()
    with pytest.raises(BadInput) as caught:
        load_folder()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_systems_and_programs_leave_is_passed_over_everywhere_and_counted() -> None:
    noise(Path("mine"), ("cat", "dog"), 12)
    clean = load_folder()
    for folder in (".ipynb_checkpoints", "@eaDir", "__MACOSX"):
        shutil.copytree("mine/cat", f"mine/dog/{folder}")
        shutil.copytree("mine/cat", f"mine/{folder}")
    for file in ("Thumbs.db", "desktop.ini", ".DS_Store"):
        for folder in ("mine", "mine/cat"):
            Path(folder, file).write_bytes(b"no image")
    dataset = load_folder()
    assert dataset.classes == ("cat", "dog")
    assert sum(map(sum, dataset.counts.values())) == 24
    assert dataset.digest == clean.digest
    (note,) = [note for note in dataset.notes if "left by a system" in note]
    assert note == "passed over, hidden or left by a system: .DS_Store, .ipynb_checkpoints, @eaDir, ... (12)"
    for name in ("THUMBS.DB", "$RECYCLE.BIN", "System Volume Information", "Picasa.ini"):
        assert is_junk(name)
    assert not is_junk("thumb.png")


def test_what_cnnlab_wrote_is_never_data() -> None:
    noise(Path("mine"), ("cat", "dog"), 12)
    run = ["cnnlab", "train", ".", "--epochs", "1", "--batch-size", "4", "--quiet", "--tracking-uri", "none"]
    environment = {**os.environ, "CNNLAB_DATA": str(Path("data").absolute())}
    for flags in ([], ["--run-dir", "mine"], ["--run-dir", "cat/first"]):
        subprocess.run([*run, *flags], cwd="mine", env=environment, check=True)
    dataset = load_folder()
    assert dataset.classes == ("cat", "dog")
    assert sum(map(sum, dataset.counts.values())) == 24
    assert "passed over, written by cnnlab or MLflow: first, mine, mlruns" in dataset.notes


def test_a_link_to_a_folder_is_followed_once() -> None:
    noise(Path("mine"), ("cat", "dog"), 5)
    noise(Path("elsewhere"), ("more",), 7, seed=1)
    Path("mine/cat/link").symlink_to(Path("elsewhere").absolute())
    Path("mine/cat/again").symlink_to(Path("elsewhere/more").absolute())
    Path("elsewhere/circle").symlink_to(Path("elsewhere").absolute())
    Path("mine/dog/upwards").symlink_to("..")
    Path("mine/everything").symlink_to(Path("mine").absolute())
    dataset = load_folder()
    assert dataset.classes == ("cat", "dog")
    assert [sum(counts) for counts in zip(*dataset.counts.values(), strict=True)] == [12, 5]
    assert "passed over, a link to a folder that it lies in: circle, upwards, everything" in dataset.notes


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def test_names_in_two_unicode_forms_are_one() -> None:
    for form, split in ((COMPOSED, "train"), (DECOMPOSED, "train"), (DECOMPOSED, "test")):
        noise(Path("mine", split), (form, "dog"), 5, seed=len(form))
        noise(Path("inside", form), (split,), 5, seed=len(form))
    noise(Path("inside/dog"), ("train", "test"), 5)
    for root, counts in (("mine", (9, 4)), ("inside", (9, 4))):
        dataset = load_folder(root)
        assert dataset.classes == (COMPOSED, "dog")
        assert dataset.counts["train"] == counts


def test_a_test_folder_without_classes_is_passed_over() -> None:
    for make, root in ((("mine/test",), "mine"), (("ours/test/unknown",), "ours")):
        noise(Path(root, "train"), ("cat", "dog"), 10)
        noise(Path("."), make, 0)
        Image.new("RGB", (8, 8)).save(Path(make[0], "1.png"))
        dataset = load_folder(root)
        assert dataset.classes == ("cat", "dog")
        assert dataset.held_out == ("val", "test")
        assert f"passed over, test without classes: {root}/test; test is held out of train" in dataset.notes


def test_what_lies_beside_the_classes_is_said() -> None:
    for split in ("train", "test"):
        noise(Path("mine", split), ("cat", "dog"), 5)
    noise(Path("mine"), ("extra",), 1)
    Path("mine/train/README.txt").write_text("of mine")
    notes = load_folder().notes
    assert "passed over, neither train, val nor test: extra" in notes
    assert "passed over, beside the class folders: README.txt" in notes


def test_a_class_with_a_single_image_and_a_small_validation_split_are_said() -> None:
    noise(Path("mine"), ("cat", "dog"), 150)
    noise(Path("mine"), ("emu",), 1)
    dataset = load_folder()
    assert dataset.counts == {"train": (108, 108, 1), "val": (12, 12, 0), "test": (30, 30, 0)}
    assert "1 class with a single image, which is in the training split alone: emu" in dataset.notes
    assert "few validation images (24): each is 4.2 % of them" in dataset.notes
    assert describe(dataset)[:2] == [
        "folder: 3 classes, 3 x 64 x 64 pixels; train 217, val 24 (held out of train), test 60 (held out of train)",
        "images per class (train/val/test): cat 108/12/30, dog 108/12/30, emu 1/0/0",
    ]
    assert not [note for note in load(config(), 0).notes if "few" in note]  # 143 digits


def test_the_same_image_in_training_and_test_is_counted() -> None:
    noise(Path("mine/train"), ("cat", "dog"), 5)
    noise(Path("mine/val"), ("cat", "dog"), 5, seed=1)
    noise(Path("mine/test"), ("cat", "dog"), 5, seed=2)
    for index in range(3):
        shutil.copy(f"mine/train/cat/cat_{index}.png", f"mine/test/cat/copy_{index}.png")
    for _ in range(2):  # the second time from the cache
        notes = load_folder().notes
        assert "3 of the 13 test images are training images too, pixel for pixel" in notes
        assert not [note for note in notes if "val images" in note]


def test_many_classes_are_shown_in_short() -> None:
    noise(Path("mine"), tuple(f"class {index:02}" for index in range(30)), 3)
    noise(Path("mine"), ("class 07",), 9, seed=1)
    lines = describe(load_folder())
    assert lines[1].startswith("classes: class 00, class 01,")
    assert lines[1].endswith("class 19, ... in this order")
    assert lines[2] == "training images per class: from 1 (class 00) to 6 (class 07)"


def test_train_and_test_inside_each_class() -> None:
    for name in ("cat", "dog"):
        noise(Path("mine", name), ("Train",), 8)
        noise(Path("mine", name), ("Test",), 3)
    dataset = load_folder()
    assert dataset.classes == ("cat", "dog")
    assert [len(split) for split in (dataset.train, dataset.val, dataset.test)] == [14, 2, 6]
    assert "each class has folders for train, test" in dataset.notes


def test_depth_says_which_folders_are_the_classes() -> None:
    for top, names in (("animals", ("cat", "dog")), ("things", ("bus", "cup"))):
        noise(Path("mine", top), names, 5)
    shallow, deep = load_folder(), load_folder(depth=2)
    assert shallow.classes == ("animals", "things")
    assert any("data.depth=2 makes these the classes" in note for note in shallow.notes)
    assert deep.classes == ("bus", "cat", "cup", "dog")
    assert [sum(counts) for counts in zip(*deep.counts.values(), strict=True)] == [5] * 4
    noise(Path("mine/others"), ("cat",), 5, seed=1)
    more = load_folder(depth=2)
    assert sum(counts[1] for counts in more.counts.values()) == 10
    assert "5 folders of 4 names: those of one name are one class" in more.notes


def test_capitals_in_extensions_are_images() -> None:
    noise(Path("mine"), ("cat", "dog"), 5)
    for path in list(Path("mine").rglob("*.png")):
        path.rename(path.with_suffix(".PNG"))
    assert sum(map(sum, load_folder().counts.values())) == 10
