"""Each dataset from its real files, or from small ones in the exact format; splits, caches, errors."""

import gzip
import os
import pickle
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnnlab.config import DataConfig, read_config
from cnnlab.data import Dataset, load
from cnnlab.data.folder import _decode
from cnnlab.data.shapes import CLASSES, shapes_with_masks
from cnnlab.data.split import hold_out, stratified_order
from cnnlab.data.torchvision_sets import DEBIAN, IDX_FILES
from cnnlab.errors import BadInput

needs_fashion = pytest.mark.skipif(
    not DEBIAN["fashion_mnist"].exists(), reason="needs Debian's package: apt-get install dataset-fashion-mnist"
)


def config(**settings: object) -> DataConfig:
    return read_config(None, {f"data.{key}": value for key, value in settings.items()})[0].data


def same(one: Dataset, two: Dataset) -> bool:
    return all(
        torch.equal(getattr(getattr(one, split), part), getattr(getattr(two, split), part))
        for split in ("train", "val", "test")
        for part in ("inputs", "targets")
    )


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    dataset = load(config(), 0)
    splits = (dataset.train, dataset.val, dataset.test)
    ours = torch.cat([split.inputs for split in splits]).flatten(1)
    labels = torch.cat([split.targets for split in splits])
    table = torch.cat([ours, labels[:, None].byte()], 1)
    theirs = load_digits()
    scaled = np.round(theirs.data * 255 / 16).astype(np.uint8)
    expected = np.concatenate([scaled, theirs.target[:, None].astype(np.uint8)], 1)
    assert sorted(table.tolist()) == sorted(expected.tolist())
    assert [len(split) for split in splits] == [1295, 143, 359]


@needs_fashion
def test_fashion_mnist_is_the_real_one() -> None:
    dataset = load(config(dataset="fashion_mnist"), 0)
    assert [len(s) for s in (dataset.train, dataset.val, dataset.test)] == [54000, 6000, 10000]
    assert dataset.image_shape == (1, 28, 28)
    # the mean of the training images, as published by many: 0.2860
    everything = torch.cat([dataset.train.inputs, dataset.val.inputs])
    assert everything.float().mean().item() / 255 == pytest.approx(0.2860, abs=5e-5)
    assert torch.bincount(dataset.val.targets).tolist() == [600] * 10


def write_idx(path: Path, array: np.ndarray, packed: bool) -> None:  # type: ignore[type-arg]
    data = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    if packed:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(data))
    else:
        path.write_bytes(data)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("kmnist", "KMNIST"), ("fashion_mnist", "FashionMNIST")]
)
def test_idx_files_are_read_as_torchvision_reads_them(
    name: str, folder: str, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    arrays = [
        random.integers(0, 256, (40, 28, 28)),
        np.arange(40) % 10,
        random.integers(0, 256, (20, 28, 28)),
        np.arange(20) % 10,
    ]
    for file, array in zip(IDX_FILES, arrays, strict=True):
        write_idx(Path("root", folder, "raw", file), array, packed)
    dataset = load(config(dataset=name, root="root", batch_size=4), 0)
    if not packed:
        from torchvision.datasets import MNIST

        reference = MNIST.__new__(MNIST)
        reference.root, reference.train = "root", False
        monkeypatch.setattr(MNIST, "raw_folder", f"root/{folder}/raw")
        images, labels = reference._load_data()
        assert torch.equal(dataset.test.inputs[:, 0], images)
        assert torch.equal(dataset.test.targets, labels)
    assert np.array_equal(dataset.test.inputs[:, 0].numpy(), arrays[2])


def write_cifar(folder: Path, hundred: bool) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    """A small CIFAR in the exact format; returns its test batch."""
    random = np.random.default_rng(0)
    key = b"fine_labels" if hundred else b"labels"
    files = ["train", "test"] if hundred else [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    classes = 100 if hundred else 10
    base = folder / ("cifar-100-python" if hundred else "cifar-10-batches-py")
    base.mkdir(parents=True)
    batch: dict[str, np.ndarray] = {}  # type: ignore[type-arg]
    for file in files:
        labels = np.arange(2 * classes) % classes
        batch = {"data": random.integers(0, 256, (len(labels), 3072)).astype(np.uint8), "labels": labels}
        (base / file).write_bytes(pickle.dumps({"data": batch["data"], key.decode(): labels.tolist()}))
    meta = {("fine_label_names" if hundred else "label_names"): [f"class {i}" for i in range(classes)]}
    (base / ("meta" if hundred else "batches.meta")).write_bytes(pickle.dumps(meta))
    with tarfile.open(folder / f"cifar-{100 if hundred else 10}-python.tar.gz", "w:gz") as archive:
        archive.add(base, base.name)
    return batch


@pytest.mark.parametrize("hundred", [False, True])
def test_cifar_is_read_from_its_archive(hundred: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    test = write_cifar(Path("root"), hundred)
    # the checksums are those of the published files
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)
    dataset = load(config(dataset="cifar100" if hundred else "cifar10", root="root", batch_size=4), 0)
    assert dataset.image_shape == (3, 32, 32)
    assert dataset.classes[3] == "class 3"
    # a row is red, green, blue, each row by row
    assert np.array_equal(dataset.test.inputs.flatten(1).numpy(), test["data"])
    assert np.array_equal(dataset.test.targets.numpy(), test["labels"])


def test_svhn_is_read_from_its_mat_files(monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.io import savemat

    Path("root").mkdir()
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        images = random.integers(0, 256, (32, 32, 3, 40)).astype(np.uint8)
        # 10 stands for the digit 0
        savemat(f"root/{split}_32x32.mat", {"X": images, "y": (np.arange(40) % 10 + 1)[:, None]})
    monkeypatch.setattr("torchvision.datasets.svhn.check_integrity", lambda *_: True)
    dataset = load(config(dataset="svhn", root="root", batch_size=4), 0)
    assert torch.equal(dataset.test.targets, (torch.arange(40) % 10 + 1) % 10)
    assert np.array_equal(dataset.test.inputs[7].numpy(), images[:, :, :, 7].transpose(2, 0, 1))


@pytest.mark.parametrize("name", ["mnist", "kmnist", "cifar10", "cifar100", "svhn"])
def test_without_a_network_one_line_says_which_files_to_put_where(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib.error import URLError

    def no_network(*args: object, **kwargs: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    with pytest.raises(BadInput) as caught:
        load(config(dataset=name, root="root"), 0)
    wanted = {"mnist": "train-images-idx3-ubyte.gz", "kmnist": "t10k-labels-idx1-ubyte.gz", "svhn": "test_32x32.mat"}
    assert wanted.get(name, f"{name.replace('cifar', 'cifar-')}-python.tar.gz") in str(caught.value)
    assert "into root" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Path("root").exists()


# folders of images


def picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (20, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def pictures(root: Path, count: int = 10) -> None:
    for index in range(count):
        picture(root / "red" / f"{index}.png", (250, 10, 10), (20 + index, 30))
        picture(root / "blue" / f"{index}.jpg", (10, 10, 250), (64, 40 + index))


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


def test_sixteen_bits_a_pixel_are_scaled_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 0x8000, np.uint16)).save(tmp_path / "deep.png")
    assert (_decode(tmp_path / "deep.png", 8) == 0x80).all()


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
        "data.root: the class blue has 2 of the 3 images that it takes to hold one out for val and test each",
    ),
    "classes too small for a test": (
        lambda: (pictures(Path("mine/train"), 1), pictures(Path("mine/val"), 1)),
        {"root": "mine"},
        "data.root: the class blue has 1 of the 2 images that it takes to hold one out for test each",
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
        assert len(dataset.train) + len(dataset.val) + len(dataset.test) == 20


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


def test_where_no_home_is_known_one_line_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("CNNLAB_DATA")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    with pytest.raises(BadInput, match=r"CNNLAB_DATA: the home directory in ~/\.cache/cnnlab is not known"):
        load(config(), 0)


# splits


def test_the_validation_split_is_stratified_and_depends_on_the_seed_alone() -> None:
    one = load(config(batch_size=16), 7)
    two = load(config(batch_size=500, augment=["flip"]), 7)
    other = load(config(), 8)
    assert same(one, two)
    assert not torch.equal(one.val.inputs, other.val.inputs)
    assert torch.equal(one.test.inputs, other.test.inputs)
    whole = torch.bincount(torch.cat([one.train.targets, one.val.targets]))
    assert (torch.bincount(one.val.targets) - whole * 0.1).abs().max() <= 0.5


def test_hold_out_keeps_at_least_one_of_each_class_on_each_side() -> None:
    labels = torch.tensor([0] * 100 + [1] * 2 + [2])
    stay, out = hold_out(labels, 0.01, seed=0)
    assert torch.bincount(labels[stay], minlength=3).tolist() == [99, 1, 1]
    assert torch.bincount(labels[out], minlength=3).tolist() == [1, 1, 0]
    assert sorted(torch.cat([stay, out]).tolist()) == list(range(103))


def test_a_smaller_training_set_is_stratified_and_part_of_a_larger_one() -> None:
    labels = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
    order = stratified_order(labels, 1)
    assert sorted(order.tolist()) == list(range(100))
    assert torch.bincount(labels[order[:10]], minlength=3).tolist() == [6, 3, 1]
    small, large = load(config(train_size=100), 0), load(config(train_size=300), 0)
    assert (len(small.train), len(large.train)) == (100, 300)
    assert {tuple(i.flatten().tolist()) for i in small.train.inputs} <= {
        tuple(i.flatten().tolist()) for i in large.train.inputs
    }


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"batch_size": 1296}, "data.batch_size: 1296 is not allowed; it must be from 1 to 1295"),
        ({"train_size": 2000}, "data.train_size: 2000 is not allowed; the training split has 1295 images"),
        ({"train_size": 100, "batch_size": 101}, "it must be from 1 to 100"),
    ],
)
def test_sizes_beyond_the_data_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        load(config(**settings), 0)


def test_resize_gives_the_side_asked_for() -> None:
    assert load(config(resize=32), 0).image_shape == (1, 32, 32)


# shapes


def test_shapes_have_masks_that_fit_and_a_class_that_colour_does_not_tell() -> None:
    images, labels, masks = shapes_with_masks(600)
    again = shapes_with_masks(600)[0]
    assert torch.equal(images, again)
    assert torch.bincount(labels).tolist() == [100] * len(CLASSES)
    inside = torch.stack([i[:, m].float().mean(1) for i, m in zip(images, masks, strict=True)])
    outside = torch.stack([i[:, ~m].float().mean(1) for i, m in zip(images, masks, strict=True)])
    assert (inside - outside).abs().min() > 30
    by_class = torch.stack([inside[labels == label].mean(0) for label in range(len(CLASSES))])
    assert by_class.std(0).max() < 3 * 74 / 10  # three standard errors of a mean of 100 uniform colours


# the cache


def caches() -> list[Path]:
    return sorted(Path("data/cache").glob("*.safetensors"))


@pytest.mark.parametrize("damage", ["flipped", "truncated", "garbled", "empty"])
def test_a_damaged_cache_is_noticed_and_made_anew(damage: str, caplog: pytest.LogCaptureFixture) -> None:
    before = load(config(), 0)
    (path,) = caches()
    good = path.read_bytes()
    middle = len(good) // 2
    path.unlink()  # the first dataset is still mapped from it
    path.write_bytes(
        {
            "flipped": good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :],
            "truncated": good[:middle],
            "garbled": b"x" * len(good),
            "empty": b"",
        }[damage]
    )
    assert same(load(config(), 0), before)
    assert "damaged" in caplog.text
    assert path.read_bytes() == good


def test_changed_images_are_another_dataset() -> None:
    pictures(Path("mine"))
    first = load(config(dataset="folder", root="mine", batch_size=4), 0)
    picture(Path("mine/red/0.png"), (0, 255, 0), (20, 31))
    assert load(config(dataset="folder", root="mine", batch_size=4), 0).digest != first.digest


def test_a_cache_that_cannot_be_kept_is_done_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Path("file").write_text("not a folder")
    monkeypatch.setenv("CNNLAB_DATA", "file")
    assert len(load(config(), 0).train) == 1295
    assert "cannot be kept" in caplog.text


def test_the_second_load_imports_neither_torchvision_nor_pillow() -> None:
    pictures(Path("mine"))
    code = (
        "import sys; from cnnlab.config import read_config; from cnnlab.data import load;"
        "load(read_config(None, {'data.dataset': 'folder', 'data.root': 'mine', 'data.batch_size': 4})[0].data, 0);"
        "print('PIL' in sys.modules, 'torchvision' in sys.modules, 'sklearn' in sys.modules)"
    )
    said = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert said == ["True False False\n", "False False False\n"]
