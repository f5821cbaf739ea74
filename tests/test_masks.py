"""Images with masks: folders, PASCAL VOC's files, the shapes' masks; made in the exact formats."""

import io
import shutil
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import Result
from PIL import Image, ImageDraw

from cnnlab.config import read_config
from cnnlab.config.data import VOID
from cnnlab.data import Dataset, describe, load
from cnnlab.data.builtin import TEST, TRAIN, shapes_masks, shapes_with_masks
from cnnlab.data.published import VOC_CLASSES as CLASSES
from cnnlab.errors import BadInput
from cnnlab.training import Learner
from tests.files import config

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
        "classes without a pixel (1): bird",
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
            lambda: Image.fromarray(mask(3)).save("mine/masks/03.png", "JPEG"),
            "mine/masks/03.png is not a mask that can be read (it is a JPEG: masks saved as JPEG or resized with "
            "smoothing mix the values of the classes; save masks as PNG, resize them with nearest)",
        ),
        (
            lambda: Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE * 2, 3), np.uint8)).save(
                "mine/masks/03.png"
            ),
            "mine/masks/03.png is not a mask that can be read (it has more than 256 colours: masks saved as JPEG or",
        ),
        (lambda: shutil.rmtree("mine/masks"), "mine has images/, but no masks; needed are images/ and masks/ side by"),
        (
            lambda: [shutil.rmtree("mine/masks"), Path("mine/masks").mkdir()],
            "mine/masks has no masks; put in one per image, of the same name",
        ),
        (lambda: shutil.rmtree("mine"), "mine is not a folder; needed are images/ and masks/ side by side, or pairs"),
        (lambda: shutil.copytree("mine/masks", "mine/labels"), "mine/labels and mine/masks both mean masks; remove or"),
        (
            lambda: shutil.copy("mine/masks/03.png", "mine/masks/03_mask.png"),
            "mine/masks/03.png and mine/masks/03_mask.png are both masks of mine/images/03.jpg; remove one",
        ),
        (
            lambda: [save_mask(path, np.minimum(mask(0), 0)) for path in Path().rglob("*.png")],
            "the masks in mine have only 0; at least 2 classes are needed",
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
    assert any(note.startswith("skipped: mine/images/00.jpg is not an image") for note in dataset.notes)
    assert len(dataset.train) + len(dataset.val) + len(dataset.test) == 6


def discs(count: int = 8, side: int = 48, values: tuple[int, ...] = (0, 1)) -> list[Image.Image]:
    """Grey masks with a disc and a bar of the other values on the first."""
    random, made = np.random.default_rng(1), []
    for index in range(count):
        image = Image.new("L", (side, side), values[0])
        x, y, radius = *random.uniform(side / 4, 3 * side / 4, 2), side / 6
        draw = ImageDraw.Draw(image)
        draw.rectangle((2, 2, side // 3, side // 4), fill=values[-1])
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=values[1 + index % (len(values) - 1)])
        made.append(image)
    return made


def save_all(masks: Sequence[Image.Image], top: str = "mine") -> None:
    for index, image in enumerate(masks):
        save_image(Path(top, "images", f"{index:02}.jpg"), index, image.height, image.width)
        Path(top, "masks").mkdir(parents=True, exist_ok=True)
        image.save(Path(top, "masks", f"{index:02}.png"))


def every_mask(dataset: Dataset) -> list[object]:
    masks = torch.cat([dataset.train.targets, dataset.val.targets, dataset.test.targets])
    return sorted(masks.tolist())


def as_jpeg(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG")
    with Image.open(file) as again:
        return again.copy()


def resized(image: Image.Image) -> Image.Image:
    return image.resize((100, 100), Image.Resampling.BILINEAR)


@pytest.mark.parametrize("values", [(0, 255), (0, 128, 255), (0, 16)])
@pytest.mark.parametrize("spoil", [as_jpeg, resized])
def test_masks_whose_values_were_mixed_are_refused(
    values: tuple[int, ...], spoil: Callable[[Image.Image], Image.Image]
) -> None:
    save_all([spoil(image) for image in discs(values=values)])
    with pytest.raises(
        BadInput, match=r"^data.root: mine/masks/0\d.png has \d+ values, most of them only at the edges of regions: mas"
    ):
        load_masks()
    save_all([spoil(image.convert("RGB")) for image in discs(values=values)])
    with pytest.raises(BadInput, match=r"mine/masks/0\d.png has \d+ values, most of them only at the edges of regions"):
        load_masks()


def test_clean_masks_are_not_taken_for_mixed_ones() -> None:
    noise = np.random.default_rng(0).integers(0, 7, (8, 20, 20), np.uint8)  # no value is in the majority of its squares
    save_all([Image.fromarray(values) for values in noise], "noise")
    assert len(load_masks(root="noise").classes) == 7
    lines = discs(values=(0, 9))
    for image in lines:
        for value in range(1, 9):  # many thin objects, and as many wide ones
            ImageDraw.Draw(image).line((0, 20 + 3 * value, 40, 20 + 3 * value), fill=value, width=1 + value % 2)
    save_all(lines, "lines")
    assert len(load_masks(root="lines").classes) == 10


@pytest.mark.parametrize(
    ("levels", "mode"), [((0, 255), "L"), ((0, 255), "1"), ((0, 255), "RGB"), ((0, 127, 255), "L"), ((0, 1), "L")]
)
def test_grey_levels_are_classes(levels: tuple[int, ...], mode: str) -> None:
    numbered = discs(values=tuple(range(len(levels))), side=SIDE)
    save_all([image.point(lambda value: levels[value] if value < len(levels) else 0) for image in numbered])
    for path in Path("mine/masks").iterdir():
        with Image.open(path) as image:
            image.convert(mode).save(path)
    dataset = load_masks()
    assert dataset.classes == tuple("012"[: len(levels)])
    assert every_mask(dataset) == sorted(np.asarray(image).tolist() for image in numbered)
    listed = ", ".join(map(str, levels))
    note = f"the grey levels {listed} in the masks are the classes {', '.join(dataset.classes)}; none is void"
    assert (note in dataset.notes) == (levels != (0, 1))
    Path("mine/classes.txt").write_text("\n".join("abc"[: len(levels)]))
    assert load_masks().classes == tuple("abc"[: len(levels)])


ROAD, SKY, EDGE = (128, 64, 128), (70, 130, 180), (0, 0, 0)


def save_colours() -> np.ndarray:  # type: ignore[type-arg]
    """Masks 0 .. 7 with 0 for the edge, 1 for the sky, 2 for the road; the first has only the edge's black."""
    numbers = np.stack([np.asarray(image) for image in discs(values=(0, 1, 2), side=SIDE)])
    numbers[0] = 0
    save_all([Image.fromarray(np.array([EDGE, SKY, ROAD], np.uint8)[values]) for values in numbers])
    return numbers


def test_colours_are_classes_in_the_order_of_their_codes() -> None:
    numbers = save_colours()
    dataset = load_masks()
    assert dataset.classes == ("#000000", "#4682b4", "#804080")
    assert every_mask(dataset) == sorted(numbers.tolist())
    assert (
        "masks in 3 colours, numbered from 0: #000000, #4682b4, #804080; data.colours names them and says which is void"
    ) in dataset.notes
    for path in list(Path("mine/masks").iterdir())[:4]:  # some as palette images: each with a palette of its own
        with Image.open(path) as image:
            image.quantize(8).save(path)
    assert every_mask(load_masks()) == sorted(numbers.tolist())
    for path in Path("mine/masks").iterdir():
        with Image.open(path) as image:
            image.convert("RGB").quantize(8).save(path)
    again = load_masks()
    assert again.classes == dataset.classes
    assert every_mask(again) == sorted(numbers.tolist())
    Path("mine/classes.txt").write_text("edge\nsky\nroad\n")
    with pytest.raises(
        BadInput, match=r"are in colours \(#000000, .*\), which classes.txt does not name; remove it and"
    ):
        load_masks()


def test_colours_are_named_by_a_setting() -> None:
    numbers = save_colours()
    named = load_masks(colours={"road": "#804080", "sky": "#4682B4", "void": "#000000"})
    assert named.classes == ("road", "sky")
    wanted = np.array([VOID, 1, 0], np.uint8)[numbers[1:]]  # the first is all void
    assert every_mask(named) == sorted(wanted.tolist())
    assert named.notes[0] == "left out, as their masks are all void: 1 of 8 images, mine/masks/00.png first"
    other = load_masks(colours={"road": "#804080", "sky": "#4682b4", "edge": "#000000"})
    assert other.classes == ("road", "sky", "edge"), "not from the cache of the other colours"
    with pytest.raises(
        BadInput, match=r"00.png has the colour #000000, which data.colours does not name; add it, as vo"
    ):
        load_masks(colours={"road": "#804080", "sky": "#4682b4"})
    Path("mine/classes.txt").write_text("road\nsky\n")
    with pytest.raises(BadInput, match=r"^data.colours: mine/classes.txt names the classes too; remove one of them"):
        load_masks(colours={"road": "#804080", "sky": "#4682b4"})


def test_colours_are_set_in_yaml_and_on_the_command_line(cli: Callable[..., Result]) -> None:
    dry = ("train", "--dataset", "mask_folder", "--data-root", "mine", "--dry-run")
    given = cli(*dry, "-s", 'data.colours={road: "#804080", sky: "#4682b4"}')
    assert given.exit_code == 0, given.output
    Path("given.yaml").write_text(given.stdout)
    assert read_config(Path("given.yaml"), {})[0].data.colours == {"road": "#804080", "sky": "#4682b4"}
    for colours, said in {
        "{a: 804080, b: '#000000'}": "data.colours: a: 804080 is not allowed; it must be a colour in quotes, as ",
        "{a: purple, b: '#000000'}": "data.colours: a: 'purple' is not allowed; it must be a colour in quotes",
        "[a, b]": "data.colours: ['a', 'b'] is not allowed; it must be a ",
        "{a: '#00000A', b: '#00000a'}": "data.colours: two names have one colour; give each its own",
        "{a: '#000000', void: '#ffffff'}": "data.colours: a, void is not enough; name 2 classes or more",
    }.items():
        refused = cli(*dry, "-s", f"data.colours={colours}")
        assert refused.exit_code == 2
        assert said in refused.stderr


def move_pairs(images: str, masks: str, ending: str = "") -> None:
    """From mine/images and mine/masks."""
    for folder, new, end in (("images", images, ""), ("masks", masks, ending)):
        for path in Path("mine", folder).iterdir():
            Path("yours", new).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, Path("yours", new, f"{path.stem}{end}{path.suffix}"))


@pytest.mark.parametrize(
    ("images", "masks", "ending"),
    [
        ("images", "masks", "_mask"),
        ("Images", "labels", "-labels"),
        ("img", "gt", "_gt"),
        ("JPEGImages", "SegmentationClass", ""),
        ("imgs", "annotations", "_seg"),
        ("", "", "_mask"),
        ("patient 1", "patient 1", "_Mask"),
        ("train", "train", "_seg"),
        ("train/image", "train/label", ""),
        ("images/train", "masks/train", "_mask"),
    ],
)
def test_masks_as_people_name_them(images: str, masks: str, ending: str) -> None:
    pairs(Path("mine"), 12)
    move_pairs(images, masks, ending)
    dataset = load_masks(root="yours")
    assert every_mask(dataset) == sorted(mask(index).tolist() for index in range(12))
    assert every_mask(dataset) == every_mask(load_masks())


def test_splits_inside_images_and_masks_are_splits() -> None:
    for index, split in enumerate(("train", "val", "test")):
        shutil.rmtree("mine", ignore_errors=True)
        pairs(Path("mine"), 4, first=4 * index)
        move_pairs(f"images/{split}", f"masks/{split}")
    Path("yours/classes.txt").write_text("ground\ncat\ndog\n")
    dataset = load_masks(root="yours")
    assert dataset.held_out == ()
    for split, first in ((dataset.train, 0), (dataset.val, 4), (dataset.test, 8)):
        assert sorted(split.targets.tolist()) == sorted(mask(index).tolist() for index in range(first, first + 4))
    assert "train is images/train with masks/train, val is images/val with masks/val" in dataset.notes[0]
    shutil.rmtree("yours/masks/test")
    assert "passed over, images without masks: test" in load_masks(root="yours").notes
    shutil.move("yours/images/val", "yours/images/other")
    with pytest.raises(
        BadInput, match=r"yours/masks/val has masks of a split that yours/images does not have; put in its im"
    ):
        load_masks(root="yours")
    shutil.rmtree("yours/masks/train")
    with pytest.raises(BadInput, match=r"yours/masks has val but no folder train"):
        load_masks(root="yours")


def test_names_are_compared_in_one_form_of_unicode() -> None:
    pairs(Path("mine"), 8)
    for index, name in enumerate(("caf\u00e9", "\u00fcber")):
        shutil.move(f"mine/images/0{index}.jpg", f"mine/images/{name}.jpg")
        shutil.move(f"mine/masks/0{index}.png", f"mine/masks/{unicodedata.normalize('NFD', name)}.png")
    assert every_mask(load_masks()) == sorted(mask(index).tolist() for index in range(8))


@pytest.mark.parametrize("loss", ["cross_entropy", "dice"])
def test_an_image_whose_mask_is_all_void_has_no_part_in_any_mean(loss: str) -> None:
    for split, first in (("train", 0), ("val", 20), ("test", 40)):
        pairs(Path("mine", split), 6, first=first)
        save_mask(Path("mine", split, "masks", f"{first + 2:02}.png"), np.full((SIDE, SIDE), VOID, np.uint8))
    config = read_config(
        None,
        {
            **{"data.dataset": "mask_folder", "data.root": "mine", "data.resize": SIDE, "data.batch_size": "full"},
            **{"model.depth": 1, "model.width": 4, "model.norm": "none", "loss.name": loss, "training.epochs": 1},
            **{"training.precision": "fp32"},
        },
    )[0]
    dataset = load(config.data, 0)
    assert [len(split) for split in (dataset.train, dataset.val, dataset.test)] == [5, 5, 5]
    assert "left out, as their masks are all void: 3 of 18 images, mine/train/masks/02.png first" in dataset.notes
    learner = Learner(config, dataset)

    def plain(split: str) -> float:
        """Over the images as the files have them."""
        losses = []
        for path in sorted(Path("mine", split, "images").iterdir()):
            wanted = torch.from_numpy(np.array(Image.open(path.parent.parent / "masks" / f"{path.stem}.png"))).long()
            known = wanted != VOID
            if known.any():
                image = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)[None]
                scores = learner.model(image)[0].flatten(1)[:, known.flatten()]
                truth = F.one_hot(wanted[known], 3).T.double()
                shares, here = scores.softmax(0).double(), truth.sum(1) > 0
                dice = 2 * (shares * truth).sum(1) / (shares.sum(1) + truth.sum(1))
                losses.append(1 - dice[here].mean() if loss == "dice" else F.cross_entropy(scores.T, wanted[known]))
        return float(sum(losses) / len(losses))

    with torch.no_grad():
        expected = {split: plain(split) for split in ("train", "val")}
    val_loss = learner.measure("val").metrics["loss"]
    assert val_loss == pytest.approx(expected["val"], rel=1e-5)
    trained = learner.update(dataset.train.inputs, dataset.train.targets, lr=0, noise=0).loss.item()
    assert trained == pytest.approx(expected["train"], rel=1e-5)


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
