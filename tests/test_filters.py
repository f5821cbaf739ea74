"""`cnnlab filters` against SciPy and Pillow; what it works out by hand against its output; bad input."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image
from scipy import ndimage, signal

from cnnlab.cli.filters import KERNELS
from cnnlab.reading.filtering import apply, read_grey

Cli = Callable[..., Result]


@pytest.mark.parametrize("name", KERNELS)
def test_the_output_is_scipys(name: str) -> None:
    image = read_grey(None)
    expected = ndimage.correlate(image.numpy().astype(float), np.array(KERNELS[name]), mode="constant")
    assert np.allclose(apply(image, KERNELS[name]).output, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("shape", "stride", "padding"), [((3, 3), 2, 0), ((2, 5), 3, 1), ((1, 4), 1, 2), ((5, 1), 2, None)]
)
def test_strides_and_paddings_are_scipys(shape: tuple[int, int], stride: int, padding: int | None) -> None:
    generator = np.random.default_rng(0)
    image, kernel = generator.integers(0, 256, (17, 12)), generator.normal(size=shape)
    above, left = ((side - 1) // 2 if padding is None else padding for side in shape)
    whole = signal.correlate(np.pad(image, ((above, above), (left, left))), kernel, mode="valid")
    output = apply(torch.from_numpy(image), kernel.tolist(), stride, padding).output
    assert np.allclose(output, whole[::stride, ::stride], atol=1e-3)


def test_the_patch_the_products_and_their_sum_are_of_the_picture_and_of_the_output(cli: Cli) -> None:
    values = np.random.default_rng(1).integers(0, 256, (20, 30), dtype=np.uint8)
    Image.fromarray(values).save("noise.png")
    words = ("filters", "noise.png", "--kernel", "[[1, 2.5], [-3, 0], [0, 1]]", "--stride", "3", "--at", "2,4")
    result = json.loads(cli(*words, "--json").stdout)
    patch = values[6 - 1 : 9 - 1, 12 : 12 + 2]  # one row of zeros above, none to the left
    assert (result["padding"], result["image_size"], result["output_size"]) == ([1, 0], [20, 30], [7, 10])
    assert result["patch"] == patch.tolist()
    assert result["products"] == (patch * np.array([[1, 2.5], [-3, 0], [0, 1]])).tolist()
    assert result["value"] == pytest.approx(np.sum(result["products"]))
    done = cli(*words)
    assert "rows (20 - 3 + 2*1)/3 + 1 = 7, columns (30 - 2 + 2*0)/3 + 1 = 10" in done.stdout
    assert f"their sum is {result['value']:.4g}\n" in done.stdout


def test_a_picture_is_read_whole_and_grey(cli: Cli) -> None:
    colours = np.random.default_rng(2).integers(0, 256, (13, 21, 3), dtype=np.uint8)
    Image.fromarray(colours).save("photo.png")
    assert np.array_equal(read_grey(Path("photo.png")), Image.open("photo.png").convert("L"))
    done = cli("filters", "photo.png", "--kernel", "Sobel", "--plot", "figures")
    assert (done.exit_code, done.stderr) == (0, "figures/filters.png\n")
    with Image.open("figures/filters.png") as picture:
        assert len(np.unique(np.asarray(picture.convert("L")))) > 50


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--kernel", "blurr"), "--kernel 'blurr': it must be one of blur, edges, sharpen, emboss, sobel, or rows of"),
        (("--kernel", ""), "--kernel '': it must be one of"),
        (("--kernel", "[]"), "--kernel '[]': it must be one of"),
        (("--kernel", "[1,2,3]"), "--kernel '[1,2,3]': it must be one of"),
        (("--kernel", "[[1,2],[]]"), "--kernel '[[1,2],[]]': it must be one of"),
        (("--kernel", "[[1,2"), "--kernel '[[1,2': it must be one of"),
        (("--kernel", "[[1,2],[3]]"), "--kernel '[[1,2],[3]]': its rows must have one length, but have 2, 1, as in"),
        (("--kernel", "[[1,x]]"), "--kernel '[[1,x]]': 'x' in it is not a number from -1e+09 to 1e+09, as in"),
        (("--kernel", "[[1,true]]"), "--kernel '[[1,true]]': True in it is not a number from"),
        (("--kernel", "[[.nan]]"), "--kernel '[[.nan]]': nan in it is not a number from"),
        (("--kernel", f"[[1{'0' * 400}]]"), "--kernel '[[1000"),
        (
            ("tiny.png",),
            "--kernel: the output would be empty: OutputSize = (InputSize - KernelSize + 2*Padding)/Stride",
        ),
        (("--padding", "-1"), "Invalid value for '--padding'"),
        (("--stride", "0"), "Invalid value for '--stride'"),
        (("--at", "3"), "--at '3': is not allowed; it must be a row and a column of the output, as 3,14"),
        (("--at", "9" * 5000 + ",1"), "--at '9999"),
        (("--at", "32,0"), "--at 32,0: is outside of the output, whose rows are 0 to 31 and whose columns are 0 to 31"),
        (
            ("none.png",),
            "none.png is not an image that can be read (it is no file, or a link to nothing); name another",
        ),
        (("text.png",), "text.png is not an image that can be read (a text file); name another file"),
        (("text.txt",), "text.txt is not an image that can be read (a text file); name another file"),
        (("torn.png",), "torn.png is not an image that can be read ("),
        (("--plot", ""), "--plot: '' is not allowed"),
        (("--plot", "text.txt"), "--plot: 'text.txt' is not allowed; it must be the name of a folder"),
    ],
)
def test_bad_input_is_one_line(args: tuple[str, ...], message: str, cli: Cli) -> None:
    for name in ("text.png", "text.txt"):
        Path(name).write_text("no image")
    Image.new("L", (2, 2)).save("tiny.png")
    Image.effect_noise((40, 40), 50).save("whole.png")
    Path("torn.png").write_bytes(Path("whole.png").read_bytes()[:200])
    padding = ("--padding", "0") if args[0] == "tiny.png" else ()
    done = cli("filters", *args, *padding)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"cnnlab: {message}")
    assert done.stderr.count("\n") == 1
