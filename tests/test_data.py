"""Each dataset from its real files, or from small ones in the exact format; splits, caches, errors."""

import gzip
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from errno import ENOSPC
from pathlib import Path

import numpy as np
import pytest
import torch

from cnnlab.config import DataConfig
from cnnlab.data import Dataset, Split, load
from cnnlab.data.builtin import CLASSES, shapes_with_masks
from cnnlab.data.cache import _write, cached, fingerprint
from cnnlab.data.dataset import Source, hold_out, stratified_order
from cnnlab.data.load import FINDERS
from cnnlab.data.published import DEBIAN, IDX_FILES
from cnnlab.errors import BadInput, RunFailed
from tests.files import caches, config, load_folder, noise, picture, pictures, write_idx

needs_fashion = pytest.mark.skipif(
    not DEBIAN["fashion_mnist"].exists(), reason="needs Debian's package: apt-get install dataset-fashion-mnist"
)


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


def test_targets_that_are_masks_are_split_without_classes_and_kept_in_the_cache() -> None:
    images, masks = torch.arange(20, dtype=torch.uint8).view(20, 1, 1, 1), torch.arange(20, dtype=torch.uint8)
    masks = masks.view(20, 1, 1).expand(20, 2, 3)
    source = Source(tuple("abcdefghijklmnopqrst"), {"train": Split(images, masks)}, "tests", notes=("a note",))
    for _ in range(2):  # the second time from the file
        found, _ = cached(Path("cache"), "masks", "key", lambda: source)
        train = found.splits["train"]
        assert torch.equal(train.targets, masks)
        assert found.notes == ("a note",)
    stay, out = hold_out(train.targets, 0.25, seed=3)
    assert (len(stay), len(out)) == (15, 5)
    assert sorted(torch.cat([stay, out]).tolist()) == list(range(20))
    assert not torch.equal(out, hold_out(train.targets, 0.25, seed=4)[1])
    assert sorted(stratified_order(train.targets, 1).tolist()) == list(range(20))


DIGESTS = {
    "digits": "db3d5320a662ae650b5cc58cc6a0a6e7",
    "shapes": "545509a4bda4b0d1b81bf3b17f7dd0a8",
}
"""Of the built-in sets: journals have them, so they may never change."""


@pytest.mark.parametrize("name", DIGESTS)
def test_the_digests_of_the_built_in_sets_never_change(name: str) -> None:
    assert load(config(dataset=name), 0).digest == DIGESTS[name]


# files that are not what they should be


def _good(count: int) -> tuple[object, object]:
    return np.zeros((count, 28, 28)), np.arange(count) % 10


IMAGES, LABELS = IDX_FILES[0], IDX_FILES[1]
WEB_PAGE = b"<!DOCTYPE html><html><title>503</title></html>"
BAD_IDX: dict[str, tuple[dict[str, object], str]] = {
    "fewer labels than images": ({LABELS: np.arange(35) % 10}, f"{LABELS} has 35 labels for the 40 images in"),
    "a label outside": (
        {LABELS: np.full(40, 17)},
        "root/MNIST/raw has the label 17 in its train split, but its 10 classes",
    ),
    "four dimensions": ({IMAGES: np.zeros((40, 28, 28, 1))}, f"{IMAGES} has 4 dimensions; images have 3"),
    "two dimensions": ({LABELS: np.zeros((40, 2))}, f"{LABELS} has 2 dimensions; labels have 1"),
    "no images": ({IMAGES: np.zeros((0, 28, 28)), LABELS: np.zeros(0)}, f"{IMAGES} has no images"),
    "a web page": ({f"{IMAGES}.gz": WEB_PAGE}, f"{IMAGES}.gz is a web page, not an idx file"),
    "a truncated gzip": ({f"{IMAGES}.gz": gzip.compress(bytes(1000))[:-9]}, f"{IMAGES}.gz cannot be read ("),
    "a broken gzip": (
        {f"{IMAGES}.gz": gzip.compress(bytes(99))[:12] + b"xxxxxxxxxxx"},
        f"{IMAGES}.gz cannot be read (",
    ),
    "an empty file": ({IMAGES: b""}, f"{IMAGES} is empty, not an idx file"),
    "a pointer": ({IMAGES: b"version https://git-lfs.github.com/spec/v1\noid"}, "is a pointer of Git LFS"),
    "four bytes": ({IMAGES: b"\0\0\x08\x03"}, f"{IMAGES} is not a whole idx file"),
    "truncated": ({IMAGES: b"\0\0\x08\x01\0\0\0\x09abc"}, f"{IMAGES} is not a whole idx file"),
}


@pytest.mark.parametrize("case", BAD_IDX)
def test_idx_files_that_do_not_fit_are_named_in_one_line(case: str) -> None:
    raw = Path("root/MNIST/raw")
    changes, said = BAD_IDX[case]
    for file, array in zip(IDX_FILES, (*_good(40), *_good(20)), strict=True):
        write_idx(raw / file, np.asarray(array))
    for file, what in changes.items():
        if file.endswith(".gz"):
            (raw / file.removesuffix(".gz")).unlink()
        if isinstance(what, bytes):
            (raw / file).write_bytes(what)
        else:
            write_idx(raw / file, np.asarray(what))
    with pytest.raises(BadInput) as caught:
        load(config(dataset="mnist", root="root", batch_size=4), 0)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_named_gz_that_was_unpacked_on_its_way_is_read() -> None:
    raw = Path("root/MNIST/raw")
    for file, array in zip(IDX_FILES, (*_good(40), *_good(20)), strict=True):
        write_idx(raw / file, np.asarray(array))
        (raw / file).rename(raw / f"{file}.gz")
    assert len(load(config(dataset="mnist", root="root", batch_size=4), 0).test) == 20


@pytest.mark.parametrize(("name", "file"), [("cifar10", "cifar-10-python.tar.gz"), ("svhn", "test_32x32.mat")])
def test_a_web_page_in_place_of_an_archive_is_called_that(
    name: str, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*args: object, **kwargs: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    Path("root").mkdir()
    for one in ("train_32x32.mat", file):
        Path("root", one).write_bytes(WEB_PAGE)
    with pytest.raises(BadInput, match=rf"root/{file}.* cannot be read as {name} \(.*is a web page\); remove it"):
        load(config(dataset=name, root="root", batch_size=4), 0)


def test_labels_outside_the_classes_in_an_archive_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    write_cifar(Path("root"), hundred=False)
    path = Path("root/cifar-10-batches-py/test_batch")
    batch = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps(batch | {"labels": [11] * 20}))
    with tarfile.open("root/cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(path.parent, path.parent.name)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)
    with pytest.raises(BadInput, match=r"root has the label 11 in its test split, but its 10 classes"):
        load(config(dataset="cifar10", root="root", batch_size=4), 0)


def test_what_a_library_says_of_a_file_is_said_of_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(config: DataConfig) -> None:
        raise error

    monkeypatch.setitem(FINDERS, "digits", fail)
    error = OSError("decoder error -2")
    with pytest.raises(RunFailed, match=r"^data\.root: a file of digits in .* cannot be read \(decoder error -2\)$"):
        load(config(), 0)
    error = OSError(ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space left"):
        load(config(), 0)


# the cache


@pytest.mark.parametrize("fault", ["a label outside", "fewer labels"])
def test_a_cache_that_somebody_else_wrote_is_not_trained_on(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    before = load(config(), 0)
    (path,) = caches()
    images = torch.zeros(30, 1, 8, 8, dtype=torch.uint8)
    labels = torch.arange(30) if fault == "a label outside" else torch.zeros(29, dtype=torch.int64)
    marks = torch.zeros(30, dtype=torch.int64)
    splits = {name: Split(images.clone(), labels.clone(), marks.clone()) for name in ("train", "test")}
    path.unlink()  # the first dataset is still mapped from it
    _write(path, Source(tuple("0123456789"), splits, "elsewhere"))
    assert same(load(config(), 0), before)
    assert "damaged" in caplog.text


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


def project(root: Path, first: int) -> None:
    """Twelve images in files of one size and time, and a table of their classes."""
    for index in range(12):
        picture(root / ("first", "second")[index % 2] / f"{index}.bmp", (first + index, 0, 0), (8, 8))
    (root / "labels.csv").write_text("".join(f"{index}.bmp,{'ab'[index // 6]}\n" for index in range(12)))
    of_one_time(root)


def of_one_time(root: Path) -> None:
    for path in root.rglob("*"):
        os.utime(path, (10**9, 10**9))


def another_project() -> None:
    project(Path("other/mine"), 100)
    os.chdir("other")


def replaced() -> None:
    project(Path("other"), 100)
    shutil.move("mine", "before")
    shutil.move("other", "mine")


def exchanged(one: str, two: str) -> None:
    shutil.move(one, "kept")
    shutil.move(two, one)
    shutil.move("kept", two)


def another_link() -> None:
    project(Path("other"), 100)
    shutil.move("mine", "before")
    Path("mine").symlink_to("before")
    load_folder()
    Path("mine").unlink()
    Path("mine").symlink_to("other")


STALE: dict[str, Callable[[], object]] = {
    "another project": another_project,
    "a folder that was replaced": replaced,
    "a link that points elsewhere": another_link,
    "two files that were exchanged": lambda: exchanged("mine/first/0.bmp", "mine/first/6.bmp"),
    "a file that was written again": lambda: picture(Path("mine/first/0.bmp"), (100, 0, 0), (8, 8)),
    "a table that was written again": lambda: Path("mine/labels.csv").write_text(
        "".join(f"{index}.bmp,{'ab'[index % 2]}\n" for index in range(12))
    ),
}
"""What a cache must notice though names, sizes and times are as before."""


@pytest.mark.parametrize("case", STALE)
def test_other_images_of_the_same_names_sizes_and_times_are_another_dataset(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(Path("mine"), 0)
    first = load_folder()
    STALE[case]()
    of_one_time(Path("mine").resolve())
    second = load_folder()
    monkeypatch.setenv("CNNLAB_DATA", "another cache")
    assert same(second, load_folder())
    assert not same(second, first)


def test_folders_that_are_links_are_classes_by_their_own_names() -> None:
    noise(Path("elsewhere"), ("one", "two"), 5)
    Path("mine").mkdir()
    for name, target in (("a", "one"), ("b", "two")):
        Path("mine", name).symlink_to(Path("elsewhere", target).resolve())
    assert load_folder().classes == ("a", "b")
    Path("mine/b").rename("mine/c")
    assert load_folder().classes == ("a", "c")


def test_whether_a_cache_is_good_takes_a_call_per_file_and_a_few_per_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    noise(Path("mine"), ("a", "b"), 100)
    files = sorted(Path("mine").rglob("*.png"))
    calls = 0

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def count(*args: object, **kwargs: object) -> object:
            nonlocal calls
            calls += 1
            return call(*args, **kwargs)

        return count

    with monkeypatch.context() as patched:
        for name in ("stat", "lstat", "readlink"):
            patched.setattr(os, name, counted(getattr(os, name)))
        key = fingerprint(files)
    folders = len(files[0].resolve().parents)
    assert len(files) <= calls <= len(files) + 2 * (folders + 1)
    assert key == fingerprint(files)


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
