"""Decoding: kinds of pixels, transparency, sizes, EXIF, masks; each on a file made with the values in question."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnlab.data import pictures
from cnnlab.data.masks import decode_masks
from cnnlab.data.pictures import decode_all, on_disk
from cnnlab.errors import BadInput
from tests.files import load_folder


def decoded(*images: Image.Image, suffix: str = "png") -> tuple[list[int], tuple[str, ...]]:
    """The middle pixel's red of each image as it is decoded among these, and what is said."""
    paths = [Path(f"{index}.{suffix}") for index in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        image.save(path)
    found = decode_all([on_disk(path) for path in paths], 8, skip_broken=False)
    return found.images[:, 0, 4, 4].tolist(), found.notes


def flat(value: float, dtype: type) -> Image.Image:
    return Image.fromarray(np.full((8, 8), value, dtype))


@pytest.mark.parametrize(
    ("values", "dtype", "suffix", "shown", "said"),
    [
        ((20, 250), np.uint16, "png", [20, 250], "values from 20 to 250 in 2 images"),
        ((3, 900), np.uint16, "png", [0, 225], "1023 as 255"),
        ((400, 3800), np.uint16, "png", [25, 237], "0 is shown as 0 and 4095 as 255"),
        ((0, 0x8000, 0xFFFF), np.uint16, "png", [0, 0x80, 0xFF], "65535 as 255"),
        ((29000, 30000, 31000), np.uint16, "png", [0, 128, 255], "29000 is shown as 0 and 31000 as 255"),
        ((50, 200), np.int32, "tif", [50, 200], "values from 50 to 200"),
        ((-1000, 3000), np.int32, "tif", [0, 255], "-1000 is shown as 0 and 3000 as 255"),
        ((0.2, 0.9), np.float32, "tif", [51, 229], "0 is shown as 0 and 1 as 255"),
        ((0.001, 0.002), np.float32, "tif", [0, 255], "0.002 as 255"),
        ((float("nan"), 10.0, 240.0), np.float32, "tif", [0, 10, 240], "values from 10 to 240"),
    ],
)
def test_more_than_8_bits_are_shown_by_what_the_set_uses(
    values: tuple[float, ...], dtype: type, suffix: str, shown: list[int], said: str
) -> None:
    found, notes = decoded(*(flat(value, dtype) for value in values), suffix=suffix)
    assert found == shown
    assert said in notes[0]


def test_one_scale_serves_the_whole_set_in_all_its_splits() -> None:
    for split, value in (("train", 400), ("val", 2000), ("test", 3800)):
        for name in ("a", "b"):
            Path("mine", split, name).mkdir(parents=True)
            flat(value, np.uint16).save(Path("mine", split, name, "1.png"))
    dataset = load_folder(allow_conflicting_labels=True)
    assert [int(split.inputs[0].max()) for split in (dataset.train, dataset.val, dataset.test)] == [25, 125, 237]
    assert any("in 6 images of more than 8 bits" in note for note in dataset.notes)


def drawing(colour: int, mode: str = "RGBA") -> Image.Image:
    """A square that lies in the alpha channel alone: one colour everywhere, opaque in the middle."""
    alpha = np.zeros((16, 16), np.uint8)
    alpha[4:12, 4:12] = 255
    image = Image.new("RGBA", (16, 16), (colour,) * 3)
    image.putalpha(Image.fromarray(alpha))
    if mode != "P":
        return image.convert(mode)
    palette = Image.fromarray((alpha == 0).astype(np.uint8), "P")
    palette.putpalette([colour] * 6)
    palette.info["transparency"] = 1
    return palette


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize(("colour", "ground"), [(0, 255), (255, 0), (90, 255)])
def test_a_drawing_in_the_alpha_channel_is_seen(mode: str, colour: int, ground: int) -> None:
    drawing(colour, mode).save("1.png")
    found = decode_all([on_disk(Path("1.png"))], 16, skip_broken=False)
    assert found.images[0, :, 8, 8].tolist() == [colour] * 3
    assert found.images[0, :, 0, 0].tolist() == [ground] * 3
    assert found.notes == (f"1 image with transparent parts: laid on {'white' if ground else 'black'}",)


def test_black_and_white_drawings_of_one_set_lie_on_one_grey() -> None:
    for name, colour in (("1.png", 0), ("2.png", 255)):
        drawing(colour).save(name)
    found = decode_all([on_disk(Path("1.png")), on_disk(Path("2.png"))], 16, skip_broken=False)
    assert found.images[:, 0, 0, 0].tolist() == [128, 128]
    assert found.images[:, 0, 8, 8].tolist() == [0, 255]


def wide_png(value: int) -> bytes:
    """8 x 8 pixels in colour with 16 bits a channel, which Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + struct.pack(">H", value) * 24) * 8
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_colour_of_16_bits_is_read_unless_it_would_be_black() -> None:
    for name, value in (("dark.png", 200), ("light.png", 60000)):
        Path(name).write_bytes(wide_png(value))
    found = decode_all([on_disk(Path("dark.png")), on_disk(Path("light.png"))], 8, skip_broken=False)
    assert found.images[:, 0, 0, 0].tolist() == [0, 60000 >> 8]
    with pytest.raises(BadInput, match=r"dark\.png has 16 bits per channel but uses"):
        decode_all([on_disk(Path("dark.png"))], 8, skip_broken=False)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_more_pixels_than_pillow_allows_are_read(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # 40 x 40 is beyond twice as many, as 180 megapixels are
    Image.new("RGB", (40, 40), (200, 0, 0)).save(f"1.{suffix}")
    found = decode_all([on_disk(Path(f"1.{suffix}"))], 8, skip_broken=False)
    assert found.images[0, 0].min() >= 198
    assert Image.MAX_IMAGE_PIXELS == 100


def test_more_pixels_than_memory_holds_are_said_to_be_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "LARGEST", 1000)
    Image.new("RGB", (40, 40)).save("1.png")
    with pytest.raises(BadInput, match=r"1\.png .*40 x 40 pixels are too many; make it smaller"):
        decode_all([on_disk(Path("1.png"))], 8, skip_broken=False)


def test_a_png_with_a_broken_exif_block_is_read() -> None:
    Image.new("RGB", (8, 8), (200, 0, 0)).save("1.png", exif=b"garbage")
    with Image.open("1.png") as image, pytest.raises(SyntaxError, match="not a TIFF file"):
        image.getexif()
    assert decode_all([on_disk(Path("1.png"))], 8, skip_broken=False).images[0, 0, 0, 0] == 200


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_as_pillow_turns_it(orientation: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save("1.png", exif=exif)
    with Image.open("1.png") as image:
        expected = np.asarray(ImageOps.exif_transpose(image)).transpose(2, 0, 1)
    assert np.array_equal(decode_all([on_disk(Path("1.png"))], 8, skip_broken=False).images[0], expected)


def test_masks_keep_their_values() -> None:
    values = np.zeros((60, 90), np.uint8)
    values[20:40, 30:60] = 7
    values[25:35, 35:40] = 255
    Image.fromarray(values).save("grey.png")
    palette = Image.fromarray(values, "P")
    palette.putpalette(list(range(256)) * 3)
    palette.save("palette.png")
    masks, files = decode_masks([on_disk(Path("grey.png")), on_disk(Path("palette.png"))], 30)
    for file in files:
        assert file.number.tolist() == [0, 7, 255]
        assert file.pixels.tolist() == [60 * 90 - 600, 600 - 50, 50]
        assert file.blocks.tolist()[2] == 9 * 4
    assert files[0].colour.tolist() == [0, 0x070707, 0xFFFFFF]
    assert files[1].colour.tolist() == [0x000102, 0x151617, 0xFDFEFF]
    assert masks.shape == (2, 30, 30)
    assert np.array_equal(masks[0], masks[1])
    assert set(np.unique(masks).tolist()) == {0, 7, 255}
    assert masks[0, 15, 15] == 7
    assert np.array_equal(decode_masks([on_disk(Path("grey.png"))], 60)[0][0], values[:, 15:75])


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (Image.new("CMYK", (8, 8)), "its pixels are of the kind CMYK; save masks as grey, palette or RGB PNG"),
        (Image.new("RGBA", (8, 8)), "it is transparent in parts; save masks without transparency"),
        (
            Image.fromarray(np.full((8, 8), 300, np.uint16)),
            "its values go from 300 to 300; classes are whole numbers, 0 to 255",
        ),
        (
            Image.fromarray(np.full((8, 8), 0.5, np.float32)),
            "its values go from 0.5 to 0.5; classes are whole numbers, 0 to 255",
        ),
    ],
)
def test_a_mask_of_other_values_is_refused_by_name(image: Image.Image, said: str) -> None:
    image.save("mask.tif")
    with pytest.raises(BadInput) as caught:
        decode_masks([on_disk(Path("mask.tif"))], 8)
    assert str(caught.value) == f"data.root: mask.tif is not a mask that can be read ({said})"
