"""Images with masks: folders, PASCAL VOC's files, the shapes' masks; made in the exact formats."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from files import config
from PIL import Image

from cnnlab.config.data import VOID
from cnnlab.data import Dataset, describe, load
from cnnlab.data.shapes import TEST, TRAIN, shapes_masks, shapes_with_masks
from cnnlab.data.voc import CLASSES
from cnnlab.errors import BadInput

SIDE = 12


def mask(seed: int, classes: int = 3) -> np.ndarray:  # type: ignore[type-arg]
    """A void outline round a block of one class on class 0, as VOC has them."""
    values = np.zeros((SIDE, SIDE), np.uint8)
    values[3:9, 2:8] = VOID
    values[4:8, 3:7] = 1 + seed % (classes - 1)
    return values


def save_mask(path: Path, values: np.ndarray, mode: str = "P") -> None:  # type: ignore[type-arg]
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if mode == "P":
        image.putpalette([(37 * value + channel) % 256 for value in range(256) for channel in range(3)])
        assert image.mode == "P"
    image.save(path)


def save_image(path: Path, seed: int, height: int = SIDE, width: int = SIDE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def pairs(top: Path, count: int = 12, mode: str = "P", first: int = 0) -> None:
    for index in range(first, first + count):
        save_image(top / "images" / f"{index:02}.jpg", index)
        save_mask(top / "masks" / f"{index:02}.png", mask(index), mode)


def load_masks(**settings: object) -> Dataset:
    return load(config(**{"dataset": "mask_folder", "root": "mine", "batch_size": 2, "resize": SIDE, **settings}), 0)


@pytest.mark.parametrize("mode", ["P", "L"])
def test_a_folder_of_images_and_masks(mode: str) -> None:
    pairs(Path("mine"), 12, mode)
    dataset = load_masks()
    assert dataset.classes == ("0", "1", "2")
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (9, 1, 2)
    assert dataset.train.inputs.shape == (9, 3, SIDE, SIDE)
    assert dataset.train.targets.dtype == torch.uint8
    every = torch.cat([dataset.train.targets, dataset.val.targets, dataset.test.targets])
    wanted = sorted(mask(index).tolist() for index in range(12))
    assert sorted(every.tolist()) == wanted
    assert describe(dataset)[1].startswith("training pixels per class: 0 75.0%, 1 ")
    assert describe(dataset)[1].endswith(", void 13.9%")
    again = load_masks()
    assert torch.equal(again.train.targets, dataset.train.targets), "the second time from the cache"


def test_splits_and_names_that_were_given_and_what_is_passed_over() -> None:
    for number, split in enumerate(("Train", "val", "test_set")):
        pairs(Path("mine", split), 4, first=4 * number)
    Path("mine/classes.txt").write_text("ground\ncat\ndog\nbird\n")
    save_image(Path("mine/Train/images/lonely.jpg"), 99)
    Path("mine/val/images/readme.txt").write_text("hello")
    dataset = load_masks()
    assert dataset.classes == ("ground", "cat", "dog", "bird")
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (4, 4, 4)
    assert dataset.held_out == ()
    assert [note for note in dataset.notes if "few" not in note] == [
        "passed over, images without a mask: lonely.jpg",
        "passed over, no images, in images: readme.txt",
        "classes that no pixel is of (1): bird",
    ]


def test_an_image_turned_by_its_exif_has_a_mask_that_is_upright() -> None:
    pairs(Path("mine"), 10)
    save_image(Path("mine/images/turned.jpg"), 3, 20, 10)
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open("mine/images/turned.jpg") as image:
        image.save("mine/images/turned.jpg", exif=exif)
    save_mask(Path("mine/masks/turned.png"), np.ones((10, 20), np.uint8))
    assert len(load_masks().train) == 8


def test_masks_are_resized_by_the_nearest_pixel() -> None:
    images, _, inside = shapes_with_masks(12)
    small = load(config(dataset="shapes_masks", resize=16), 0)
    assert small.train.targets.shape == (5400, 16, 16)
    first = int(torch.cat([small.train.targets, small.val.targets]).max())
    assert first == 6
    assert set(small.test.targets.unique().tolist()) == set(range(7))
    assert images.shape[2:] == inside.shape[1:]


def test_the_shapes_masks_are_their_classes_where_the_shapes_are() -> None:
    source = shapes_masks()
    images, labels, inside = shapes_with_masks(TRAIN + TEST)
    assert source.classes == ("background", "circle", "square", "triangle", "cross", "ring", "diamond")
    assert torch.equal(source.splits["train"].inputs, images[:TRAIN])
    assert torch.equal(source.splits["test"].targets != 0, inside[TRAIN:])
    for target, label in zip(source.splits["test"].targets, labels[TRAIN:], strict=True):
        assert target.max() == label + 1


def without(path: str) -> Callable[[], None]:
    return lambda: Path(path).unlink()


def written(path: str, text: str) -> Callable[[], None]:
    return lambda: Path(path).write_text(text) and None


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without("mine/images/03.jpg"), "mine/masks/03.png has no image of its name in mine/images; put one in or"),
        (
            lambda: save_mask(Path("mine/masks/03.png"), np.zeros((SIDE, 9), np.uint8)),
            "mine/masks/03.png has 12x9 pixels, but its image mine/images/03.jpg has 12x12; a mask has the size of its",
        ),
        (
            lambda: Image.new("RGB", (SIDE, SIDE)).save("mine/masks/03.png"),
            "mine/masks/03.png is not a mask that can be read (its pixels are colours (RGB); a mask has the number of a"
            " class for each pixel: save such numbers as a grey or palette PNG, as Image.fromarray(numbers.astype('u",
        ),
        (
            written("mine/classes.txt", "ground\ncat\n"),
            "mine/masks/01.png has the number 2, but the 2 classes are numbered from 0; only 255 is void",
        ),
        (written("mine/classes.txt", "ground\ncat\n\ncat\n"), "mine/classes.txt names the class cat twice; give each"),
        (
            written("mine/classes.txt", "ground\n"),
            "mine/classes.txt has 1 lines; it must have one per class, from 2 to",
        ),
        (lambda: shutil.copy("mine/masks/03.png", "mine/masks/03.bmp"), "mine/masks/03.bmp and mine/masks/03.png have"),
        (
            lambda: shutil.move("mine/masks/03.png", "mine/masks/03.jpg"),
            "mine/masks/03.jpg is a JPEG, which changes the numbers of the classes; save masks as PNG",
        ),
        (lambda: shutil.rmtree("mine/masks"), "mine has images/; needed are images/ and masks/ side by side, or insi"),
        (lambda: shutil.rmtree("mine"), "mine is not a folder; needed are images/ and masks/ side by side, or inside"),
        (
            lambda: [
                save_mask(path, np.where(mask(0) == 1, 255, 0).astype(np.uint8)) for path in Path().rglob("*.png")
            ],
            "the masks in mine have only 0 and 255, which is void; write another number for the class that",
        ),
        (
            lambda: save_mask(Path("mine/masks/03.png"), np.full((SIDE, SIDE), 300, np.uint16), "I"),
            "mine/masks/03.png is not a mask that can be read (its values go from 300 to 300; classes go from 0 t",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(spoil: Callable[[], object], said: str) -> None:
    pairs(Path("mine"), 6)
    spoil()
    with pytest.raises(BadInput) as caught:
        load_masks()
    assert str(caught.value).startswith(f"data.root: {said}")
    assert "\n" not in str(caught.value)


def test_a_label_that_is_cut_off_is_seen_and_a_broken_image_goes_with_its_mask() -> None:
    pairs(Path("mine"), 6)
    wide = np.zeros((SIDE, 40), np.uint8)
    wide[:, :2] = 9
    save_image(Path("mine/images/wide.png"), 7, SIDE, 40)
    save_mask(Path("mine/masks/wide.png"), wide)
    assert load_masks().classes == tuple("0123456789")
    Path("mine/images/00.jpg").write_bytes(b"no image")
    with pytest.raises(BadInput, match=r"00\.jpg is not an image"):
        load_masks()
    dataset = load_masks(skip_broken=True)
    assert dataset.skipped == 1
    assert len(dataset.train) + len(dataset.val) + len(dataset.test) == 6


def voc(root: Path, train: int = 8, test: int = 3) -> Path:
    """Files as the archive VOCtrainval_11-May-2012.tar has them."""
    folder = root / "VOCdevkit" / "VOC2012"
    names = [f"2007_{index:06}" for index in range(train + test)]
    for index, name in enumerate(names):
        save_image(folder / "JPEGImages" / f"{name}.jpg", index, 10, 14)
        values = np.zeros((10, 14), np.uint8)
        values[2:8, 4:9] = VOID
        values[3:7, 5:8] = 1 + (3 * index) % 20
        save_mask(folder / "SegmentationClass" / f"{name}.png", values)
    save_image(folder / "JPEGImages" / "2008_000001.jpg", 5)  # most of VOC's images have no mask
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("".join(f"{name}\n" for name in names[:train]))
    (lists / "val.txt").write_text("".join(f"{name}\n" for name in names[train:]))
    return folder


def load_voc() -> Dataset:
    return load(config(dataset="voc2012", root="here", batch_size=2, resize=10), 0)


def test_voc_is_read_by_its_lists_as_torchvision_reads_it() -> None:
    from torchvision.datasets import VOCSegmentation

    voc(Path("here"))
    dataset = load_voc()
    assert dataset.classes == CLASSES
    assert len(CLASSES) == 21
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (7, 1, 3)
    theirs = VOCSegmentation("here", image_set="val")
    for ours, (_, target) in zip(dataset.test.targets, theirs, strict=True):
        assert np.array_equal(ours.numpy(), np.asarray(target)[:, 2:12])  # the middle of 10x14 pixels


def test_voc_that_is_not_here_or_not_whole_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*args: object, **kwargs: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.voc.download_and_extract_archive", no_network)
    with pytest.raises(BadInput) as caught:
        load_voc()
    assert str(caught.value) == (
        "data.dataset: voc2012 is not here and cannot be downloaded (no network); "
        "put VOCtrainval_11-May-2012.tar into here"
    )
    folder = voc(Path("here"))
    (folder / "ImageSets" / "Segmentation" / "val.txt").unlink()
    with pytest.raises(BadInput, match=r"val\.txt cannot be read \(.*\); unpack VOC's archive again"):
        load_voc()
    (folder / "SegmentationClass" / "2007_000003.png").unlink()
    with pytest.raises(BadInput, match=r"2007_000003\.png is not there, though .*train\.txt names it; unpack VOC's"):
        load_voc()
