"""Layouts that are more than folders: tables, names, arrays, idx files, Parquet, WebDataset; each in its exact form."""

import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cnnlab.data import Dataset
from cnnlab.data.layouts import LAYOUTS
from cnnlab.errors import BadInput
from tests.files import caches, load_folder, noise, write_idx

RANDOM = np.random.default_rng(0)


def sizes(dataset: Dataset) -> list[int]:
    return [len(split) for split in (dataset.train, dataset.val, dataset.test)]


def said(root: str = "mine", **settings: object) -> str:
    """The one line of the error."""
    with pytest.raises(BadInput) as caught:
        load_folder(root, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# tables


def flat(folder: Path, count: int = 12, classes: str = "ab") -> list[tuple[str, str]]:
    """Images in one folder: those of class a are dark, of b light, of c middling; returns name and class of each."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for index in range(count):
        name = classes[index % len(classes)]
        low = {"a": 0, "b": 200, "c": 100}[name]
        Image.fromarray(RANDOM.integers(low, low + 50, (8, 8, 3)).astype(np.uint8)).save(folder / f"{index:04}.png")
        rows.append((f"{index:04}", name))
    return rows


def right(dataset: Dataset) -> bool:
    """Whether every image has the label of its brightness."""
    starts = {"a": 0, "b": 200, "c": 100}
    for split in (dataset.train, dataset.val, dataset.test):
        means = split.inputs.float().mean((1, 2, 3))
        expected = torch.tensor([starts[dataset.classes[label]] + 24.5 for label in split.targets.tolist()])
        if (means - expected).abs().max() > 12:
            return False
    return True


def write(path: Path, *rows: tuple[str, ...], mark: str = ",") -> None:
    path.write_text("".join(mark.join(row) + "\n" for row in rows))


TABLES: dict[str, Callable[[list[tuple[str, str]]], None]] = {
    "two columns": lambda rows: write(Path("mine/labels.csv"), *rows),
    "with a header": lambda rows: write(Path("mine/labels.csv"), ("id", "breed"), *rows),
    "with extensions": lambda rows: write(Path("mine/labels.csv"), ("file", "x"), *((f"{n}.png", c) for n, c in rows)),
    "class first": lambda rows: write(Path("mine/labels.csv"), ("y", "name"), *((c, n) for n, c in rows)),
    "with paths": lambda rows: write(Path("mine/labels.csv"), *((f"./images/{n}.png", c) for n, c in rows)),
    "semicolons": lambda rows: write(Path("mine/labels.csv"), ("id", "class"), *rows, mark=";"),
    "tabs": lambda rows: write(Path("mine/all.tsv"), ("id", "class"), *rows, mark="\t"),
    "more columns": lambda rows: write(
        Path("mine/about.csv"), ("lesion", "image_id", "dx", "age"), *(("x", n, c, "50") for n, c in rows)
    ),
    "Excel's mark": lambda rows: Path("mine/labels.csv").write_text(
        "\ufeffid,label\n" + "".join(f"{n},{c}\n" for n, c in rows), encoding="utf-8"
    ),
}


@pytest.mark.parametrize("case", TABLES)
@pytest.mark.parametrize("where", ["images", "."])
def test_a_table_gives_the_classes(case: str, where: str) -> None:
    rows = flat(Path("mine", where))
    if case == "with paths" and where == ".":
        return
    TABLES[case](rows)
    dataset = load_folder()
    assert dataset.classes == ("a", "b")
    assert sum(sizes(dataset)) == 12
    assert right(dataset)
    assert any("classes are those in" in note for note in dataset.notes)


def test_a_competition_has_a_table_for_train_and_a_test_without_classes() -> None:
    rows = flat(Path("mine/train"))
    flat(Path("mine/test"), 5)
    for path in Path("mine/test").iterdir():
        path.rename(path.with_name(f"t{path.name}"))
    write(Path("mine/train_labels.csv"), ("id", "label"), *rows)
    write(Path("mine/sample_submission.csv"), ("id", "label"), *((f"t{n}", "a") for n, _ in rows[:5]))
    dataset = load_folder()
    assert sum(sizes(dataset)) == 12
    assert right(dataset)
    assert "passed over, in no table: t0000.png, t0001.png, t0002.png, ... (5)" in dataset.notes


def test_splits_of_a_table_are_a_column_its_name_or_the_images_folder() -> None:
    rows = flat(Path("mine/images"), 20)
    splits = ["train"] * 10 + ["valid"] * 6 + ["TEST"] * 4
    write(Path("mine/labels.csv"), ("id", "label", "split"), *((*r, s) for r, s in zip(rows, splits, strict=True)))
    assert sizes(load_folder()) == [10, 6, 4]

    rows = flat(Path("yours/images"), 20)
    write(Path("yours/train.csv"), ("id", "label"), *rows[:14])
    write(Path("yours/test.csv"), ("id", "label"), *rows[14:])
    assert sizes(load_folder("yours", val_fraction=0.3)) == [10, 4, 6]

    for split, count in (("train", 12), ("test", 6)):
        rows = flat(Path("ours", split), count)
        with Path("ours/labels.csv").open("a") as file:
            file.writelines(f"{split}/{name}.png,{label}\n" for name, label in rows)
    assert sizes(load_folder("ours"))[2] == 6


def test_a_table_beside_folders_of_the_same_classes_is_not_needed() -> None:
    noise(Path("mine"), ("cat", "dog"), 6)
    write(Path("mine/all.csv"), ("path", "label"), *((f"{n}/{n}_{i}.png", n) for n in ("cat", "dog") for i in range(6)))
    dataset = load_folder()
    assert dataset.classes == ("cat", "dog")
    assert "passed over, beside the class folders: all.csv" in dataset.notes


def test_gtsrb_has_tables_for_train_and_test_and_a_third_of_its_signs() -> None:
    for number in "ab":
        flat(Path("mine/Train", number), 6, number)
    flat(Path("mine/Meta"), 2)
    rows = flat(Path("mine/Test"), 4)
    header = ("Width", "Height", "ClassId", "Path")
    train = [("8", "8", c, f"Train/{c}/{n:04}.png") for c in "ab" for n in range(6)]
    write(Path("mine/Train.csv"), header, *train)
    write(Path("mine/Test.csv"), header, *(("8", "8", c, f"Test/{n}.png") for n, c in rows))
    write(Path("mine/Meta.csv"), ("Path", "ClassId", "Shape"), ("Meta/0000.png", "a", "1"), ("Meta/0001.png", "b", "2"))
    dataset = load_folder()
    assert dataset.classes == ("a", "b")
    assert sizes(dataset)[2] == 4
    assert right(dataset)
    assert "passed over, beside a table for train: Meta.csv" in dataset.notes


def test_splits_of_a_table_without_a_name_are_folders_with_a_prefix() -> None:
    rows = [(f"my_train/{n}", c) for n, c in flat(Path("mine/my_train"))]
    rows += [(f"my_test/{n}", c) for n, c in flat(Path("mine/my_test"), 6)]
    write(Path("mine/labels.csv"), ("id", "label"), *rows)
    assert sizes(load_folder())[2] == 6


def test_why_a_table_was_not_used_is_said_with_the_error() -> None:
    rows = flat(Path("mine/train"))
    write(Path("mine/train.csv"), ("id", "width", "kind"), *((n, "8", c) for n, c in rows))
    assert (
        "mine/train has 0 class folders and 12 images; at least 2 are needed, one per class; if the file names hold "
        "the class, as in cat_001.jpg, add --set data.pattern='^([a-z]+)'; passed over: train.csv lists images, but "
        "none of its 3 columns is known to be the class; call one label" in said()
    )


@pytest.mark.parametrize("forms", [("caf\u00e9", "cafe\u0301"), ("cafe\u0301", "caf\u00e9")])
def test_a_table_and_its_files_may_write_accents_in_two_forms(forms: tuple[str, str]) -> None:
    rows = flat(Path("mine/images"))
    for number, _ in rows:
        Path("mine/images", f"{number}.png").rename(Path("mine/images", f"{forms[0]} {number}.png"))
    write(Path("mine/labels.csv"), *((f"{forms[1]} {n}", forms[int(n) % 4 // 2] if c == "a" else c) for n, c in rows))
    assert load_folder().classes == ("b", "caf\u00e9")
    assert load_folder(pattern=rf"{forms[1]} ..(\d)").classes == ("0", "1")


def test_labels_that_are_words_may_write_accents_in_two_forms() -> None:
    Path("mine").mkdir()
    labels = np.array(["caf\u00e9", "cafe\u0301", "dog"] * 4)
    np.savez("mine/all.npz", images=RANDOM.integers(0, 256, (12, 8, 8)).astype(np.uint8), labels=labels)
    assert load_folder().classes == ("caf\u00e9", "dog")


def test_a_table_is_not_taken_for_two_classes_of_folders() -> None:
    rows = [*flat(Path("mine/part_1"), 12, "ab")]
    for path in list(Path("mine/part_1").iterdir())[:6]:
        Path("mine/part_2").mkdir(exist_ok=True)
        path.rename(Path("mine/part_2", path.name))
    write(Path("mine/metadata.csv"), ("lesion", "image_id", "dx"), *(("x", n, c) for n, c in rows))
    dataset = load_folder()
    assert dataset.classes == ("a", "b")
    assert right(dataset)


BAD_TABLES: dict[str, tuple[Callable[[list[tuple[str, str]]], None], str]] = {
    "an image that is not there": (
        lambda rows: write(Path("mine/labels.csv"), *rows, ("gone", "a")),
        "the image gone in mine/labels.csv is not there",
    ),
    "a name of two files": (
        lambda rows: (flat(Path("mine/more"), 1), write(Path("mine/labels.csv"), *rows)),
        "the image 0000 in mine/labels.csv means several files",
    ),
    "no class": (
        lambda rows: write(Path("mine/labels.csv"), ("id", "label"), *rows, ("0001", "")),
        "mine/labels.csv has no class in row 14 (0001,)",
    ),
    "one class": (
        lambda rows: write(Path("mine/labels.csv"), *((n, "a") for n, _ in rows)),
        "all training images are of the class a; at least 2 are needed",
    ),
    "two tables": (
        lambda rows: [write(Path(f"mine/{name}.csv"), *rows) for name in ("one", "two")],
        "mine/one.csv and mine/two.csv both list images of train",
    ),
    "a class that train has not got": (
        lambda rows: (
            write(Path("mine/train.csv"), *rows[:6]),
            write(Path("mine/test.csv"), *rows[6:], ("0001", "c")),
        ),
        "mine/images/0001.png in test is of the class c, which no training image is",
    ),
    "a row per box": (
        lambda rows: write(Path("mine/labels.csv"), *rows, *(("0001", c) for c in "ab"), ("0002", "a")),
        "labels.csv has 2 images in several rows: 0001.png (b, a, b); 0002.png (a, a); keep one row per image",
    ),
    "not text": (lambda rows: Path("mine/labels.csv").write_bytes(b"\xff\xfe\x00"), "mine/labels.csv cannot be read"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_table_that_does_not_fit_is_named_in_one_line(case: str) -> None:
    make, expected = BAD_TABLES[case]
    make(flat(Path("mine/images")))
    assert expected in said()


# names


def test_the_class_is_in_the_name_of_the_file() -> None:
    for index, (number, name) in enumerate(flat(Path("mine/images"), 12)):
        Path("mine/images", f"{number}.png").rename(Path("mine/images", f"{name}_big_{index}.png"))
    Path("mine/images/list.txt").write_text("of mine")
    dataset = load_folder(pattern=r"^([a-z]+?)_")
    assert dataset.classes == ("a", "b")
    assert sum(sizes(dataset)) == 12
    assert right(dataset)
    assert "passed over, not named as an image: list.txt" in dataset.notes
    Path("mine/test").mkdir()
    Image.new("RGB", (8, 8)).save("mine/test/1.png")
    Path("mine/images").rename("mine/train")
    dataset = load_folder(pattern=r"^([a-z]+?)_")
    assert dataset.held_out == ("val", "test")
    assert "passed over, test without classes: mine/test; test is held out of train" in dataset.notes
    Path("mine/test/1.png").unlink()
    Path("mine/train").rename("mine/images")
    for path in list(Path("mine/images").glob("*.png"))[:4]:
        path.rename(Path("mine/test", path.name))
    Path("mine/images").rename("mine/Train")
    assert len(load_folder(pattern=r"^([a-z]+?)_").test) == 4


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("[a-z", "data.pattern: [a-z is not a regular expression"),
        ("[a-z]+", "data.pattern: [a-z]+ has no group"),
        (r"([a-z]+)_", r"data.pattern: ([a-z]+)_ finds no class in 0000.png (12 of 12 names in mine)"),
        (r"(\d)\d+", "all training images are of the class 0"),
    ],
)
def test_a_pattern_that_does_not_fit(pattern: str, expected: str) -> None:
    flat(Path("mine"))
    assert expected in said(pattern=pattern)


# arrays


def arrays(*splits: str, count: int = 12, shape: tuple[int, ...] = (8, 8)) -> dict[str, np.ndarray[Any, Any]]:
    """As MedMNIST has them: labels (N, 1)."""
    made: dict[str, np.ndarray[Any, Any]] = {}
    for split in splits:
        made[f"{split}_images"] = RANDOM.integers(0, 256, (count, *shape)).astype(np.uint8)
        made[f"{split}_labels"] = (np.arange(count) % 3)[:, None].astype(np.uint8)
    return made


@pytest.mark.parametrize("root", ["mine", "mine/pathmnist.npz"])
@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3), (3, 8, 8)])
def test_npz_as_medmnist_has_it(root: str, shape: tuple[int, ...]) -> None:
    Path("mine").mkdir()
    made = arrays("train", "val", "test", shape=shape)
    np.savez_compressed("mine/pathmnist.npz", **made)  # type: ignore[arg-type]
    dataset = load_folder(root)
    assert sizes(dataset) == [12, 12, 12]
    assert dataset.classes == ("0", "1", "2")
    assert dataset.image_shape == (3 if len(shape) == 3 else 1, 8, 8)
    channels_last = made["test_images"][..., None] if len(shape) == 2 else made["test_images"]
    expected = channels_last if shape[0] == 3 else channels_last.transpose(0, 3, 1, 2)
    assert np.array_equal(dataset.test.inputs.numpy(), expected)
    assert dataset.test.targets.tolist() == made["test_labels"][:, 0].tolist()
    assert load_folder(root, resize=16).image_shape[1:] == (16, 16)


@pytest.mark.parametrize(
    "names", [("x_train", "y_train", "x_test", "y_test"), ("X", "y"), ("images", "labels"), ("data", "target")]
)
@pytest.mark.parametrize("packed", [True, False])
def test_npy_pairs_and_other_names(names: tuple[str, ...], packed: bool) -> None:
    made = list(arrays("train", "test").values())[: len(names)]
    Path("mine").mkdir()
    if packed:
        np.savez("mine/all.npz", **dict(zip(names, made, strict=True)))  # type: ignore[arg-type]
    for name, array in zip(names, made, strict=True):
        if not packed:
            np.save(f"mine/{name}.npy", array)
    dataset = load_folder()
    assert sum(sizes(dataset)) == 12 * (len(names) // 2)
    assert dataset.held_out == (("val",) if len(names) == 4 else ("val", "test"))


def test_arrays_of_other_numbers_are_scaled_as_one_set_and_labels_may_be_words() -> None:
    Path("mine").mkdir()
    words = np.array(["cat", "dog", "emu"] * 4)
    for split, top in (("train", 0.5), ("test", 1.0)):
        images = np.linspace(0, top, 12 * 64, dtype=np.float32).reshape(12, 8, 8)
        np.save(f"mine/{split}_images.npy", images)
        np.save(f"mine/{split}_labels.npy", words)
    dataset = load_folder()
    assert dataset.classes == ("cat", "dog", "emu")
    assert dataset.test.inputs.max() == 255
    assert max(dataset.train.inputs.max(), dataset.val.inputs.max()) == 128
    assert "values from 0 to 1: 0 is shown as 0 and 1 as 255" in dataset.notes


BAD_ARRAYS: dict[str, tuple[dict[str, np.ndarray[Any, Any]], str]] = {
    "several labels": ({"train_labels": np.zeros((12, 14))}, "has labels of the shape (12, 14); one class per image"),
    "solids": ({"train_images": np.zeros((12, 28, 28, 28))}, "has images of the shape (12, 28, 28, 28)"),
    "flat": ({"train_images": np.zeros((12, 64))}, "has images of the shape (12, 64)"),
    "fewer labels": ({"train_labels": np.arange(9) % 3}, "12 images but 9 labels in its train split"),
    "no images": ({"train_images": np.zeros((0, 8, 8)), "train_labels": np.zeros(0)}, "has 0 classes"),
    "one class": ({"train_labels": np.zeros(12)}, "has 1 classes in its training split"),
    "a class in test alone": (
        {"test_labels": np.full(12, 7)},
        "has the class 7 in test, but not in its training split",
    ),
    "fractions": ({"train_labels": np.full(12, 0.5)}, "has labels of the type float64"),
    "complex": ({"train_images": np.zeros((12, 8, 8), complex)}, "has images of the type complex128"),
    "twice": ({"x_train": np.zeros((12, 8, 8))}, "has train_images and x_train, which mean the same"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_arrays_that_do_not_fit_are_named_in_one_line(case: str) -> None:
    Path("mine").mkdir()
    changes, expected = BAD_ARRAYS[case]
    np.savez("mine/all.npz", **(arrays("train", "test") | changes))  # type: ignore[arg-type]
    line = said()
    assert expected in line
    assert "all.npz" in line


@pytest.mark.parametrize("what", ["a web page", "truncated", "damaged", "pickled", "other names"])
def test_npz_files_that_are_none(what: str) -> None:
    Path("mine").mkdir()
    path = Path("mine/all.npz")
    if what == "a web page":
        path.write_bytes(b"<!DOCTYPE html><html>")
    elif what == "pickled":
        np.savez(path, train_images=np.array([{}, {}], dtype=object), train_labels=np.arange(2))
    elif what == "other names":
        np.savez(path, a=np.zeros(3), b=np.zeros(3))
    else:
        np.savez_compressed(path, **arrays("train"))  # type: ignore[arg-type]
        whole = path.read_bytes()
        path.write_bytes(whole[:300] if what == "truncated" else whole[:200] + b"x" * 100 + whole[300:])
    expected = {
        "a web page": "cannot be read as an .npz file (a web page)",
        "truncated": "cannot be read as an .npz file (it is damaged or not whole: ",
        "damaged": "cannot be read as an .npz file (it is damaged or not whole: ",
        "pickled": "cannot be read as an .npz file (it has Python objects, as of images of several sizes; save",
        "other names": "has the arrays a, b",
    }
    assert f"{path} {expected[what]}" in said()


def test_of_several_sets_one_is_chosen_by_data_pattern() -> None:
    Path("mine").mkdir()
    for name in ("pathmnist", "bloodmnist"):
        np.savez(f"mine/{name}.npz", **arrays("train", "test"))  # type: ignore[arg-type]
    assert (
        "there are 2 datasets in mine (bloodmnist, pathmnist); choose one, as in --set data.pattern=bloodmnist"
        in said()
    )
    assert sizes(load_folder(pattern="path"))[2] == 12


# idx


def emnist(prefix: str, count: int = 26) -> dict[str, np.ndarray[Any, Any]]:
    made = {}
    for split in ("train", "test"):
        made[f"{split}-images-idx3"] = RANDOM.integers(0, 256, (count, 6, 8))
        made[f"{split}-labels-idx1"] = np.arange(count) % 26 + 1  # the letters' labels begin at 1
    for name, array in made.items():
        write_idx(Path(f"mine/{prefix}{name}-ubyte"), array, packed=True)
    return made


def test_emnist_is_turned_upright_and_has_letters_for_names() -> None:
    made = emnist("emnist-letters-", 52)
    Path("mine/emnist-letters-mapping.txt").write_text("".join(f"{i} {64 + i} {96 + i}\n" for i in range(1, 27)))
    dataset = load_folder()
    assert dataset.classes == tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert dataset.image_shape == (1, 8, 6)
    assert np.array_equal(dataset.test.inputs[:, 0].numpy(), made["test-images-idx3"].transpose(0, 2, 1))
    assert dataset.test.targets.tolist() == [*range(26), *range(26)]
    assert any("were turned upright" in note for note in dataset.notes)


def test_idx_files_of_ones_own_are_read_as_they_are() -> None:
    made = emnist("", 52)
    dataset = load_folder()
    assert dataset.classes == tuple(map(str, range(1, 27)))
    assert np.array_equal(dataset.test.inputs[:, 0].numpy(), made["test-images-idx3"])
    emnist("emnist-digits-", 52)
    assert "there are 2 datasets in mine (" in said()
    assert load_folder(pattern="emnist-digits").image_shape == (1, 8, 6)


def test_idx_files_with_fewer_labels_are_named() -> None:
    emnist("")
    write_idx(Path("mine/train-labels-idx1-ubyte"), np.arange(25), packed=True)
    assert "mine/train-labels-idx1-ubyte.gz has 25 labels for the 26 images in" in said()


# parquet


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (12, 12), (value, 0, 0)).save(file, "png")
    return file.getvalue()


def write_parquet(path: Path, labels: Any, names: tuple[str, ...] = (), struct: bool = True, **columns: Any) -> None:
    """As `datasets` writes it: images {bytes, path}, labels int64, what they are in the schema's metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = [png(40 * index % 250) for index in range(len(labels))]
    column: Any = [{"bytes": data, "path": f"{i}.png"} for i, data in enumerate(images)] if struct else images
    table = pa.table({"image": column, "label": labels, **columns})
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


@pytest.mark.parametrize("form", ["data/{}-0000{}-of-00002.parquet", "default/{}/000{}.parquet"])
def test_parquet_as_hugging_face_exports_it(form: str) -> None:
    names = ("airplane", "frog")
    for split in ("train", "test"):
        for part in (0, 1):
            write_parquet(Path("mine", form.format(split, part)), [1, 0] * 4, names)
    dataset = load_folder(resize=8)
    assert dataset.classes == names
    assert len(dataset.test) == 16
    assert dataset.test.targets.tolist() == [1, 0] * 8
    assert dataset.test.inputs[:3, 0, 0, 0].tolist() == [0, 40, 80]
    assert "images are in the column image, classes in label" in dataset.notes


@pytest.mark.parametrize("form", ["{}/train-00000.parquet", "{}/train/0000.parquet"])
def test_several_configurations_of_a_data_set_are_not_read_as_one(form: str) -> None:
    for name in ("fine", "coarse"):
        write_parquet(Path("mine", form.format(name)), [0, 1] * 6)
    assert "mine holds several data sets of Parquet files: mine/coarse, mine/fine; name one of these folders" in said()
    assert len(load_folder("mine/fine").classes) == 2


def test_parquet_of_plain_bytes_with_words_for_classes_and_an_unlabelled_test() -> None:
    write_parquet(Path("mine/all.parquet"), ["b", "a"] * 6, struct=False)
    assert load_folder().classes == ("a", "b")
    write_parquet(Path("yours/train-0.parquet"), [0, 1] * 6)
    write_parquet(Path("yours/test-0.parquet"), [-1] * 4)
    dataset = load_folder("yours")
    assert "passed over: test, whose 4 labels are all -1" in dataset.notes
    assert dataset.held_out == ("val", "test")


@pytest.mark.parametrize("kind", ["bool", "string", "int16"])
def test_parquet_with_true_and_false_or_a_dictionary_for_classes(kind: str) -> None:
    import pyarrow as pa

    values = {"bool": [True, False], "string": ["no", "yes"], "int16": [3, 5]}[kind]
    labels = pa.array(values * 6, kind)
    write_parquet(Path("mine/all.parquet"), labels if kind == "bool" else labels.dictionary_encode())
    dataset = load_folder(resize=8)
    assert dataset.classes == tuple(map(str, sorted(values)))
    for split in (dataset.train, dataset.val, dataset.test):  # the red of image i is 40 * i % 250, and 6 of them repeat
        odd = torch.tensor([40 * i % 250 for i in range(1, 12, 2)])
        second = torch.isin(split.inputs[:, 0, 0, 0], odd.byte())
        assert torch.equal(split.targets, (second ^ (kind == "bool")).long())


def test_parquet_files_that_do_not_fit_are_named_in_one_line() -> None:
    write_parquet(Path("mine/test-0.parquet"), [0, 1] * 6)
    assert "mine has Parquet files for test, but none for train" in said()
    Path("mine/train-0.parquet").write_bytes(b"<html>")
    assert "mine/train-0.parquet cannot be read as a Parquet file (a web page)" in said()
    write_parquet(Path("mine/train-0.parquet"), [0, None] * 6)
    assert "mine/train-0.parquet has 6 rows without a label" in said()
    write_parquet(Path("yours/train.parquet"), [0.5, 0.7] * 6, text=["a", "b"] * 6, more=["a", "b"] * 6)
    assert "train.parquet has the columns image (struct<bytes: binary, path: string>), label (double)," in said("yours")


def test_images_beside_their_masks_are_no_classes() -> None:
    for folder in ("images", "labels"):
        for index in range(4):
            path = Path("mine", folder, f"{index}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(index))
    assert "mine has the folders images and labels, which are no classes; for a class for each pixel" in said()


# webdataset


def write_tar(path: Path, count: int = 12, form: str = "cls", mode: str = "w") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]

        def add(name: str, data: bytes) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))

        for index in range(count):
            add(f"d/{index:05}.png", png(200 * (index % 2) + index))
            if form == "cls":
                add(f"d/{index:05}.cls", str(index % 2).encode())
            elif form == "json":
                add(f"d/{index:05}.json", json.dumps({"label": "xy"[index % 2], "more": 1}).encode())


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("form", ["cls", "json"])
def test_webdatasets_tars(form: str, mode: str) -> None:
    ending = "tar.gz" if ":" in mode else "tar"
    for name in ("train-000000", "train-000001", "test-000000"):
        write_tar(Path(f"mine/{name}.{ending}"), 8 if "train" in name else 6, form, mode)
    if form == "cls":
        Path("mine/classnames.txt").write_text("dark\nlight\n")
    dataset = load_folder(resize=8)
    assert dataset.classes == (("dark", "light") if form == "cls" else ("x", "y"))
    assert sizes(dataset) == [14, 2, 6]
    assert (dataset.test.inputs[:, 0, 0, 0] > 128).long().tolist() == dataset.test.targets.tolist()


def test_tars_that_do_not_fit_are_named_in_one_line() -> None:
    write_tar(Path("mine/train.tar"), form="none")
    assert "mine/train.tar, d/00000.png has no class beside it (00000.cls)" in said()
    write_tar(Path("mine/train.tar"))
    Path("mine/train.tar").write_bytes(Path("mine/train.tar").read_bytes()[:3000])
    assert "mine/train.tar cannot be read as a tar archive" in said()
    Path("mine/train.tar").write_bytes(b"<!doctype html>")
    assert "mine/train.tar cannot be read as a tar archive (a web page)" in said()


def write_samples(files: dict[str, bytes]) -> None:
    """Twelve samples of these endings; the first half is of class 0."""
    Path("mine").mkdir(exist_ok=True)
    with tarfile.open("mine/train.tar", "w") as archive:
        for index in range(12):
            for ending, data in files.items():
                data = data.replace(b"CLASS", str(index // 6).encode()) or png(20 * index)
                member = tarfile.TarInfo(f"{index:03}.{ending}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize("order", [1, -1])
def test_of_a_samples_files_cls_is_the_class_and_the_image_has_no_second_suffix(order: int) -> None:
    files = {"png": b"", "cls": b"CLASS", "txt": b"a caption", "seg.png": png(255), "json": b'{"label": "x"}'}
    write_samples(dict(list(files.items())[::order]))
    dataset = load_folder(resize=8)
    assert dataset.classes == ("0", "1")
    for split in (dataset.train, dataset.val, dataset.test):
        assert torch.equal(split.targets, (split.inputs[:, 0, 0, 0] >= 120).long())


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"png": b"", "txt": b"a caption", "json": b'{"label": CLASS}'},
            "mine/train.tar has several classes of one sample, 000.txt and 000.json; put the class into 000.cls",
        ),
        (
            {"png": b"", "jpg": b"", "cls": b"CLASS"},
            "mine/train.tar has several images of one sample, 000.png and 000.jpg; leave one of them without a second",
        ),
        (
            {"in.png": b"", "seg.png": b"", "cls": b"CLASS"},
            "mine/train.tar has several images of one sample, 000.in.png and 000.seg.png; leave one of them without a",
        ),
    ],
)
def test_samples_whose_image_or_class_is_not_known_are_refused(files: dict[str, bytes], expected: str) -> None:
    write_samples(files)
    assert expected in said()


# what the cache of each depends on


def write_arrays(archive: bool) -> None:
    Path("mine").mkdir()
    if archive:
        np.savez("mine/all.npz", **arrays("train"))  # type: ignore[arg-type]
    else:
        for name, array in arrays("train").items():
            np.save(f"mine/{name}.npy", array)


def write_masks() -> None:
    for index in range(4):
        for folder, mode, value in (("images", "RGB", index), ("masks", "L", 1)):
            path = Path("mine", folder, f"{index}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            image = Image.new(mode, (8, 8), value)
            image.putpixel((0, 0), 0)
            image.save(path)
    Path("mine/classes.txt").write_text("one\ntwo\n")


FILES: dict[str, Callable[[], object]] = {
    "npz": lambda: write_arrays(archive=True),
    "npy": lambda: write_arrays(archive=False),
    "idx": lambda: (
        write_idx(Path("mine/train-images-idx3-ubyte"), RANDOM.integers(0, 9, (12, 8, 8))),
        write_idx(Path("mine/train-labels-idx1-ubyte"), np.arange(12) % 2),
    ),
    "parquet": lambda: [write_parquet(Path("mine", f"train-{part}.parquet"), [0, 1] * 6) for part in "01"],
    "webdataset": lambda: (write_tar(Path("mine/train.tar")), write(Path("mine/classnames.txt"), ("x",), ("y",))),
    "table": lambda: write(Path("mine/labels.csv"), *flat(Path("mine"))),
    "masks": write_masks,
}


@pytest.mark.parametrize("layout", FILES)
def test_a_cache_is_made_anew_if_any_file_of_a_layout_was_written_again(layout: str) -> None:
    FILES[layout]()
    settings = {"dataset": "mask_folder"} if layout == "masks" else {}
    load_folder(**settings)
    files = [path for path in Path("mine").rglob("*") if path.is_file()]
    for count, path in enumerate(files, 2):
        before = path.stat()
        path.write_bytes(path.read_bytes())
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        load_folder(**settings)
        assert len(caches()) == count, path


# what is none of them


def test_a_folder_of_no_layout_says_what_was_seen_and_what_is_known() -> None:
    flat(Path("mine"), 412 // 100)
    Path("mine/notes.doc").write_text("x")
    line = said()
    assert "mine has 4 images, 1 other file, no folders at the top; arrange it as one of these: " in line
    for means, _ in LAYOUTS.values():
        assert means in line


def test_the_page_about_data_has_every_layout() -> None:
    page = (Path(__file__).parents[1] / "docs" / "data.md").read_text()
    for name in LAYOUTS:
        assert f"| `{name}` |" in page
