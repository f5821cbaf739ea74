"""Augmentation of a whole batch against the same thing done image by image, pixel by pixel."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.v2 import functional as torchvision

from cnnlab.config.data import VOID
from cnnlab.data.augment import (
    AUGMENTATIONS,
    DEGREES,
    PAD,
    STRENGTH,
    augment,
    crop,
    cutout,
    draws_needed,
    erase,
    flip,
    jitter,
    mixup,
    rotate,
)


def images(count: int = 6, height: int = 9, width: int = 12, channels: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, channels, height, width), generator=generator).byte()


def draws(count: int, numbers: int, seed: int = 2) -> Tensor:
    return torch.rand(count, numbers, generator=torch.Generator().manual_seed(seed))


def pixel(image: Tensor, row: int, column: int) -> Tensor:
    inside = 0 <= row < image.shape[1] and 0 <= column < image.shape[2]
    return image[:, row, column] if inside else torch.zeros_like(image[:, 0, 0])


def reference_flip(image: Tensor, draw: Tensor) -> Tensor:
    return torch.stack([image[..., -1 - c] for c in range(image.shape[2])], -1) if draw[0] < 0.5 else image


def reference_crop(image: Tensor, draw: Tensor) -> Tensor:
    top, left = (int(d * (2 * PAD + 1)) - PAD for d in draw)
    out = torch.zeros_like(image)
    for row in range(image.shape[1]):
        for column in range(image.shape[2]):
            out[:, row, column] = pixel(image, row + top, column + left)
    return out


def reference_cutout(image: Tensor, draw: Tensor) -> Tensor:
    side = min(image.shape[1:]) // 2
    top = int(draw[0] * image.shape[1]) - side // 2
    left = int(draw[1] * image.shape[2]) - side // 2
    out = image.clone()
    for row in range(max(0, top), min(image.shape[1], top + side)):
        for column in range(max(0, left), min(image.shape[2], left + side)):
            out[:, row, column] = 0
    return out


def reference_erase(image: Tensor, draw: Tensor) -> Tensor:
    if draw[0] >= 0.5:
        return image
    height, width = image.shape[1:]
    area = (0.02 + draw[1] * 0.38) * height * width
    ratio = 0.3 + draw[2] * (1 / 0.3 - 0.3)
    high, wide = min(round(math.sqrt(area * ratio)), height), min(round(math.sqrt(area / ratio)), width)
    top, left = int(draw[3] * (height - high + 1)), int(draw[4] * (width - wide + 1))
    out = image.clone()
    out[:, top : top + high, left : left + wide] = int(draw[5] * 256)
    return out


def reference_rotate(image: Tensor, draw: Tensor) -> Tensor:
    angle = (2 * draw[0].item() - 1) * math.radians(DEGREES)
    height, width = image.shape[1:]
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    out = torch.zeros_like(image)
    for row in range(height):
        for column in range(width):
            x, y = column - middle_column, row - middle_row
            from_column = math.cos(angle) * x + math.sin(angle) * y + middle_column
            from_row = -math.sin(angle) * x + math.cos(angle) * y + middle_row
            r, c = math.floor(from_row), math.floor(from_column)
            down, right = from_row - r, from_column - c
            value = (
                (1 - down) * (1 - right) * pixel(image, r, c).double()
                + (1 - down) * right * pixel(image, r, c + 1).double()
                + down * (1 - right) * pixel(image, r + 1, c).double()
                + down * right * pixel(image, r + 1, c + 1).double()
            )
            out[:, row, column] = value.round().byte()
    return out


@pytest.mark.parametrize(
    ("change", "numbers", "reference"),
    [
        (flip, 1, reference_flip),
        (crop, 2, reference_crop),
        (cutout, 2, reference_cutout),
        (erase, 6, reference_erase),
    ],
)
@given(seed=st.integers(0, 10**6), height=st.integers(2, 12), width=st.integers(2, 12))
def test_equals_the_reference_image_by_image(change, numbers, reference, seed: int, height: int, width: int) -> None:  # type: ignore[no-untyped-def]
    before, drawn = images(4, height, width), draws(4, numbers, seed)
    after = change(before, drawn)
    assert after.dtype == torch.uint8
    for image, draw, ours in zip(before, drawn, after, strict=True):
        assert torch.equal(ours, reference(image, draw))


def test_rotation_equals_the_reference_up_to_rounding() -> None:
    before, drawn = images(8), draws(8, 1)
    after = rotate(before, drawn)
    for image, draw, ours in zip(before, drawn, after, strict=True):
        difference = (ours.int() - reference_rotate(image, draw).int()).abs()
        assert difference.max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_equals_torchvisions_functions_up_to_rounding(channels: int) -> None:
    before, drawn = images(8, channels=channels), draws(8, 3)
    for image, factors, ours in zip(before, 1 + STRENGTH * (2 * drawn - 1), jitter(before, drawn), strict=True):
        brightness, contrast, saturation = factors.tolist()
        wanted = torchvision.adjust_brightness(image / 255, brightness)
        wanted = torchvision.adjust_contrast(wanted, contrast)
        wanted = torchvision.adjust_saturation(wanted, saturation)
        assert (ours / 255 - wanted).abs().max() <= 1.01 / 255


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_mixup_takes_the_first_image_with_the_last_and_has_both_classes_and_the_weight(weight: float) -> None:
    before, classes = images(5), [3, 1, 4, 1, 5]
    after, targets = mixup(before, torch.tensor(classes), weight)
    assert after.dtype == torch.uint8
    for index in range(5):
        wanted = weight * before[index].double() + (1 - weight) * before[4 - index].double()
        assert (after[index] - wanted).abs().max() <= 0.501
        assert targets[index].tolist() == pytest.approx([classes[index], classes[4 - index], weight])


def test_about_half_the_images_are_flipped() -> None:
    many = images(2000, 2, 3, 1)
    changed = (flip(many, draws(2000, 1)) != many).flatten(1).any(1).float().mean().item()
    assert changed == pytest.approx(0.5, abs=0.05)


def test_what_happens_to_an_image_does_not_depend_on_its_neighbours() -> None:
    names = tuple(AUGMENTATIONS)
    before, drawn = images(6), draws(6, draws_needed(names))
    classes = torch.arange(6)
    whole, targets = augment(before, classes, names, drawn)
    single = torch.cat([augment(before[[i]], classes[[i]], names, drawn[[i]])[0] for i in range(6)])
    assert torch.equal(whole, single)
    assert targets is classes
    assert not torch.equal(whole, before)


@pytest.mark.parametrize(
    ("name", "reference"), [("flip", reference_flip), ("crop", reference_crop), ("cutout", reference_cutout)]
)
@given(seed=st.integers(0, 10**6), height=st.integers(2, 12), width=st.integers(2, 12))
def test_a_mask_goes_where_its_image_goes_and_is_void_where_there_is_nothing_to_see(
    name: str, reference: Callable[[Tensor, Tensor], Tensor], seed: int, height: int, width: int
) -> None:
    before, drawn = images(4, height, width, 1), draws(4, AUGMENTATIONS[name].draws, seed)
    masks = images(4, height, width, 1)[:, 0] % 7
    after, moved = augment(before, masks, [name], drawn)
    for index, draw in enumerate(drawn):
        # the reference brings in zeros: of the inverse they are void
        wanted, mask = reference(before[index], draw), VOID - reference(VOID - masks[index][None], draw)[0]
        if (mask == VOID).all():  # nothing would be left to learn
            wanted, mask = before[index], masks[index]
        assert torch.equal(after[index], wanted)
        assert torch.equal(moved[index], mask)


def test_a_mask_is_void_where_its_image_is_erased_and_stays_where_colours_change() -> None:
    before, masks, drawn = images(20), images(20, channels=1)[:, 0] % 7, draws(20, draws_needed(["jitter", "erase"]))
    drawn[:, 8] = 0.0  # the level
    after, moved = augment(torch.full_like(before, 200), masks, ["jitter", "erase"], drawn)
    hidden = after[:, 0] == 0
    assert 0 < hidden.flatten(1).any(1).sum() < 20
    assert torch.equal(moved, masks.masked_fill(hidden, VOID))


def test_a_turned_mask_has_the_value_of_the_nearest_pixel() -> None:
    masks, drawn = images(8, channels=1)[:, 0] % 7, draws(8, 1)
    _, turned = augment(images(8), masks, ["rotate"], drawn)
    assert turned.dtype == torch.uint8
    assert set(turned.unique().tolist()) <= {*range(7), VOID}
    for mask, draw, ours in zip(masks, drawn, turned, strict=True):
        assert torch.equal(ours, reference_turned_mask(mask, draw))


def reference_turned_mask(mask: Tensor, draw: Tensor) -> Tensor:
    angle = (2 * draw[0].item() - 1) * math.radians(DEGREES)
    height, width = mask.shape
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    out = torch.full_like(mask, VOID)
    for row in range(height):
        for column in range(width):
            x, y = column - middle_column, row - middle_row
            from_column = round(math.cos(angle) * x + math.sin(angle) * y + middle_column)
            from_row = round(-math.sin(angle) * x + math.cos(angle) * y + middle_row)
            if 0 <= from_row < height and 0 <= from_column < width:
                out[row, column] = mask[from_row, from_column]
    return out
