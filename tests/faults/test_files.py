"""Bombs, broken files, links and files of others: named in one line, before they are unpacked, and nothing is run."""

import gzip
import io
import json
import multiprocessing
import os
import pickle
import re
import resource
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from click.testing import Result
from PIL import Image
from pyarrow import parquet
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from cnnlab.data import Split, folders, kinds, load
from cnnlab.data.cache import _digest as cache_digest
from cnnlab.data.dataset import Source
from cnnlab.errors import CnnlabError
from cnnlab.page import Table, page, picture
from tests.faults.table import tally
from tests.files import caches, config, load_folder

Cli = Callable[..., Result]
Spoil = Callable[[], object]

RANDOM = np.random.default_rng(0)
MEGABYTES = 500
"""By which the peak of memory may grow."""
SECONDS = 60


def pictures() -> None:
    for name in ("cat", "dog"):
        Path("mine", name).mkdir(parents=True)
        for index in range(6):
            save(Path(f"mine/{name}/{index}.png"))


def save(path: Path) -> None:
    Image.fromarray(RANDOM.integers(0, 256, (8, 8, 3), np.uint8)).save(path, "PNG")


def masks() -> None:
    for folder in ("images", "masks"):
        Path("mine", folder).mkdir(parents=True)
    for index in range(8):
        save(Path(f"mine/images/{index}.png"))
        Image.fromarray((np.arange(64).reshape(8, 8) % 2).astype(np.uint8)).save(f"mine/masks/{index}.png")


def png_of(width: int, height: int, colours: int) -> bytes:
    """A PNG whose header says this size; its pixels are missing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, colours, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def big(path: str, width: int, height: int, colours: int = 2, make: Spoil = pictures) -> Spoil:
    return lambda: (make(), Path(path).write_bytes(png_of(width, height, colours)))


def npz(**changes: Any) -> Spoil:
    made = {"train_images": RANDOM.integers(0, 256, (20, 8, 8), np.uint8), "train_labels": np.arange(20) % 2}

    def write() -> None:
        Path("mine").mkdir()
        np.savez_compressed("mine/a.npz", **{**made, **changes})

    return write


def rewritten(change: Callable[[bytearray], Any]) -> Spoil:
    """An .npz file whose bytes are changed."""

    def write() -> None:
        npz()()
        content = bytearray(Path("mine/a.npz").read_bytes())
        Path("mine/a.npz").write_bytes(change(content) or content)

    return write


def in_headers(local: int, value: int) -> Callable[[bytearray], None]:
    """Set a byte of each of a zip archive's headers, which the central ones have two bytes later."""

    def change(content: bytearray) -> None:
        for mark, place in ((b"PK\x03\x04", local), (b"PK\x01\x02", local + 2)):
            start = content.find(mark)
            while start >= 0:
                content[start + place] = value
                start = content.find(mark, start + 1)

    return change


def zipped(**members: bytes) -> Spoil:
    def write() -> None:
        Path("mine").mkdir()
        with zipfile.ZipFile("mine/a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, content in members.items():
                archive.writestr(f"{name}.npy", content)

    return write


def npy_header(*shape: int) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return header.getvalue()


def npy(array: Any) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def npz_bomb() -> None:
    """3 MB that unpack to 3.1 GB: stored as one block of zeros, repeated by deflate."""
    Path("mine").mkdir()
    with zipfile.ZipFile("mine/a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        with archive.open("train_images.npy", "w", force_zip64=True) as member:
            member.write(npy_header(310, 1000, 1000))
            for _ in range(31):
                member.write(bytes(10**7))
        archive.writestr("train_labels.npy", npy(np.arange(310) % 2))
    # the central directory says ten times as much as is packed, as a bomb with nested blocks would
    content = bytearray(Path("mine/a.npz").read_bytes())
    place = content.find(b"PK\x01\x02")
    content[place + 24 : place + 28] = struct.pack("<I", 3_100_000_128)
    Path("mine/a.npz").write_bytes(content)


def gzipped(name: str, start: bytes, block: bytes, times: int) -> None:
    """A file of many equal blocks, packed: members of gzip can be repeated without packing them again."""
    Path("mine").mkdir(exist_ok=True)
    with open(f"mine/{name}", "wb") as file:
        file.write(gzip.compress(start))
        packed = gzip.compress(block)
        for _ in range(times):
            file.write(packed)


def idx(name: str, *shape: int) -> bytes:
    return bytes([0, 0, 8, len(shape)]) + np.array(shape, ">i4").tobytes()


def idx_bomb() -> None:
    gzipped("train-images-idx3-ubyte.gz", idx("", 3000, 1000, 1000), bytes(10**7), 300)
    Path("mine/train-labels-idx1-ubyte").write_bytes(idx("", 3000) + bytes(3000))


def idx_pair(images: tuple[int, ...], labels: int) -> Spoil:
    def write() -> None:
        Path("mine").mkdir()
        Path("mine/train-images-idx3-ubyte").write_bytes(idx("", *images) + bytes(int(np.prod(images))))
        Path("mine/train-labels-idx1-ubyte").write_bytes(idx("", labels) + bytes(labels))

    return write


def parquet_bomb() -> None:
    """A few kilobytes that say 3 million rows: what is equal is counted, not repeated."""
    Path("mine").mkdir()
    rows = 3 * 10**6
    table = pyarrow.table({"image": pyarrow.array([b"x"] * rows), "label": pyarrow.array(["cat"] * rows)})
    parquet.write_table(table, "mine/a.parquet")


def tar_header(name: str, size: int, kind: bytes = tarfile.REGTYPE, target: str = "") -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = size, kind, target
    return member.tobuf()


def tar_sample(key: str, label: str) -> bytes:
    content = io.BytesIO()
    Image.fromarray(RANDOM.integers(0, 256, (8, 8, 3), np.uint8)).save(content, "PNG")
    parts = ((f"{key}.png", content.getvalue()), (f"{key}.cls", label.encode()))
    return b"".join(tar_header(name, len(part)) + part + bytes(-len(part) % 512) for name, part in parts)


def tar_bomb(kind: bytes) -> Spoil:
    return lambda: gzipped("a.tar.gz", tar_header("1.cls", 3 * 10**9, kind), b"0" * 10**7, 300)


def hostile_tar() -> None:
    """Samples beside members that would be written, linked or made outside of the folder."""
    Path("mine").mkdir()
    samples = b"".join(tar_sample(str(index), str(index % 2)) for index in range(12))
    strange = tar_header("../../escaped.cls", 5) + b"12345" + bytes(507)
    strange += tar_header("/tmp/cnnlab-escaped.cls", 0) + tar_header("link.png", 0, tarfile.SYMTYPE, "/etc/passwd")
    strange += tar_header("hard.png", 0, tarfile.LNKTYPE, "/etc/passwd") + tar_header("null.png", 0, tarfile.CHRTYPE)
    strange += tar_header("pipe.png", 0, tarfile.FIFOTYPE)
    Path("mine/a.tar").write_bytes(samples + strange + bytes(1024))


def link(target: str, name: str) -> Spoil:
    return lambda: (pictures(), os.symlink(target, name))


def named_for(pattern_hostile: str) -> Spoil:
    return lambda: (Path("mine").mkdir(), [save(Path(f"mine/{pattern_hostile}{index}.png")) for index in range(4)])


BROKEN: dict[str, tuple[Spoil, dict[str, str], str]] = {
    "npz: 3 GB": (npz_bomb, {}, "mine/a.npz has .* unpacks to more than"),
    "npz: a shape of 64 TiB": (
        zipped(train_images=npy_header(2**40, 8, 8), train_labels=npy(np.arange(9) % 2)),
        {},
        "mine/a.npz cannot be read as an .npz file",
    ),
    "npz: encrypted": (rewritten(in_headers(6, 1)), {}, "mine/a.npz cannot be read .*encrypted"),
    "npz: packed in an unknown way": (rewritten(in_headers(8, 99)), {}, "mine/a.npz cannot be read .*not supported"),
    "npz: flipped bits": (rewritten(lambda c: c.__setitem__(slice(90, 99), b"x" * 9)), {}, "mine/a.npz .*get it again"),
    "npz: cut": (rewritten(lambda c: c[: len(c) // 2]), {}, "mine/a.npz .*not whole.* get it again"),
    "npz: a header that is none": (
        zipped(train_images=b"\x93NUMPY\x01\x00\x10\x00{'descr': bad(((", train_labels=b""),
        {},
        "mine/a.npz .* damaged",
    ),
    "npz: no pixels": (
        npz(train_images=np.zeros((20, 0, 16), np.uint8)),
        {},
        r"mine/a.npz has images of the shape \(20, 0",
    ),
    "npz: objects": (npz(train_labels=np.array(["a", None] * 10, object)), {}, "mine/a.npz .*Python objects"),
    "npz: infinite labels": (
        npz(train_labels=np.array([0, np.inf] * 10)),
        {},
        "mine/a.npz has labels of the type float",
    ),
    "npz: fewer labels than images": (npz(train_labels=np.arange(9) % 2), {}, "mine/a.npz has 20 images but 9 labels"),
    "npz: a label out of range": (
        npz(test_images=np.zeros((2, 8, 8), np.uint8), test_labels=np.array([0, 7])),
        {},
        "mine/a.npz has the class 7 in test",
    ),
    "idx: 3 GB": (idx_bomb, {}, "train-images-idx3-ubyte.gz has .* unpacks to more than"),
    "idx: wrong dimensions": (idx_pair((30, 8), 30), {}, "train-images-idx3-ubyte has 2 dimensions; images have 3"),
    "idx: fewer labels than images": (idx_pair((30, 8, 8), 9), {}, "idx1-ubyte has 9 labels for the 30 images in"),
    "tar: a class of 3 GB": (tar_bomb(tarfile.REGTYPE), {}, "mine/a.tar.gz, 1.cls has 3,000,000,000 bytes"),
    "tar: a header of 3 GB": (tar_bomb(tarfile.XHDTYPE), {}, "mine/a.tar.gz has .* unpacks to more than"),
    "parquet: 3 million rows": (parquet_bomb, {}, "mine/a.parquet has .* unpacks to more than"),
    "png: 30,000 x 30,000": (
        big("mine/cat/9.png", 30_000, 30_000),
        {},
        "cat/9.png .*30,000 x 30,000 pixels are too many",
    ),
    "png: 20,000 x 20,000": (big("mine/cat/9.png", 20_000, 20_000, 6), {}, "cat/9.png .*20,000 pixels are too many"),
    "mask: 30,000 x 30,000": (
        big("mine/masks/3.png", 30_000, 30_000, 0, masks),
        {"dataset": "mask_folder"},
        "masks/3.png .*30,000 x 30,000 pixels are too many",
    ),
    "png: empty": (lambda: (pictures(), Path("mine/cat/9.png").touch()), {}, r"cat/9.png is not an image .*\(empty\)"),
    "png: cut": (lambda: (pictures(), os.truncate("mine/cat/1.png", 60)), {}, "cat/1.png is not an image"),
    "link: to itself": (link("9.png", "mine/cat/9.png"), {}, "cat/9.png cannot be read .*symbolic links"),
    "link: to nothing": (link("nothing", "mine/cat/9.png"), {}, "cat/9.png is not an image .*a link to nothing"),
    "link: to a device": (link("/dev/zero", "mine/cat/9.png"), {}, "cat/9.png is not an image .*it is no file"),
    "pattern: for ever": (
        named_for("a" * 60),
        {"pattern": "((a+)+)b"},
        "data.pattern: .* takes longer than 0.5 s on 4",
    ),
    "pattern: too deep": (
        pictures,
        {"pattern": "(" * 5000 + "a" + ")" * 5000},
        "data.pattern: .*is not a regular expr",
    ),
    "pattern: too many": (pictures, {"pattern": "(a{99999999999999999999})"}, "data.pattern: .*is not a regular expre"),
}


def in_a_process(work: Callable[[], str]) -> tuple[str, int]:
    """What it says, or raises, in a process of its own, and the megabytes by which the peak of memory grew."""
    receiving, sending = multiprocessing.Pipe(duplex=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def run() -> None:
        try:
            said = work()
        except CnnlabError as error:
            said = str(error)
        except BaseException as error:
            said = f"a traceback: {error!r}"
        sending.send((said, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10))

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    try:
        assert receiving.poll(SECONDS), f"it takes longer than {SECONDS} s"
        said, megabytes = receiving.recv()
    finally:
        process.kill()
        process.join()
    return said, megabytes


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_named_before_it_takes_memory(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil, settings, expected = BROKEN[kind]
    spoil()
    monkeypatch.setattr(folders, "SECONDS", 0.5)
    if kind.startswith("parquet"):  # so that the test need not write 10^8 rows
        monkeypatch.setattr(kinds, "SMALL", 2**24)
    said, megabytes = in_a_process(lambda: f"loaded: {'; '.join(load_folder(**settings).notes)}")
    held = re.search(expected, said) is not None and megabytes < MEGABYTES and "\n" not in said
    tally("bombs and broken files", tried=1, held=int(held), note="" if held else kind)
    assert held, f"{megabytes} MB; {said}"


def test_an_archive_writes_nothing_and_what_is_no_file_in_it_is_passed_over(tmp_path: Path) -> None:
    hostile_tar()
    before = set(tmp_path.parent.iterdir())
    dataset = load_folder()
    escaped = (set(tmp_path.parent.iterdir()) - before) | set(tmp_path.rglob("*escaped*"))
    held = not escaped and not Path("/tmp/cnnlab-escaped.cls").exists() and len(dataset.classes) == 2
    tally("archives with ../, links and devices", tried=6, held=6 * held)
    assert held
    assert sum(map(len, (dataset.train, dataset.val, dataset.test))) == 12


def test_links_are_followed_and_those_that_lead_out_are_named() -> None:
    pictures()
    Path("elsewhere").mkdir()
    Path("mine/cat/0.png").rename("elsewhere/0.png")
    os.symlink(os.path.abspath("elsewhere/0.png"), "mine/cat/0.png")
    os.symlink("1.png", "mine/cat/same.png")
    os.symlink("..", "mine/dog/up")
    notes = "\n".join(load_folder(allow_conflicting_labels=True).notes)
    tally("links outwards or in circles", tried=2, held=("cat/0.png" in notes) + ("dog/up" in notes or "up" in notes))
    there = os.path.realpath("elsewhere/0.png")
    assert f"read through links that lead out of mine: mine/cat/0.png -> {there}" in notes
    assert "same.png" not in notes
    assert "a link to a folder that it lies in: up" in notes


def test_what_is_no_file_is_passed_over_and_said() -> None:
    pictures()
    os.mkfifo("mine/all.npz")
    os.symlink("/dev/zero", "mine/labels.csv")
    said, _ = in_a_process(lambda: "; ".join(load_folder().notes))
    held = "passed over, no file, but a pipe or a device: all.npz, labels.csv" in said
    tally("pipes and devices in place of files", tried=2, held=2 * held)
    assert held, said


YAML = {
    "aliases of 9^9 values": (
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{n}: &{n} [{', '.join(['*' + m] * 9)}]\n" for m, n in pairwise("abcdefghi")),
        "it has more than 100,000 values, each alias counted; write fewer",
    ),
    "merged aliases": (
        "a: &a {x: 1}\n"
        + "".join(f"{n}: &{n} {{<<: [{', '.join(['*' + m] * 9)}]}}\n" for m, n in pairwise("abcdefghi")),
        "it has more than 100,000 values",
    ),
    "a value in itself": ("data: &a {dataset: *a}", "a value contains itself"),
    "a Python object": ("name: !!python/object/apply:os.system ['touch ran']", "could not determine a constructor"),
    "a Python name": ("name: !!python/name:os.system", "could not determine a constructor"),
    "a key twice": ("data: {dataset: digits, dataset: mnist}", "line 1: the key dataset is repeated"),
    "too many brackets": ("[" * 100_000, "not valid YAML: "),
    "2 MB": ("name: " + "x" * 2**21, "larger than 1 MiB; an experiment is a YAML file of settings"),
    "bytes": ("\x00\x01", "not valid YAML: "),
}


@pytest.mark.parametrize("kind", YAML)
def test_an_experiment_that_is_a_bomb_is_one_line(kind: str, cli: Cli) -> None:
    text, expected = YAML[kind]
    Path("bad.yaml").write_text(text)
    said, megabytes = in_a_process(lambda: str((done := cli("train", "bad.yaml", "--dry-run")).exit_code) + done.output)
    held = (
        said.startswith("2cnnlab: bad.yaml: ") and expected in said and said.count("\n") == 1 and megabytes < MEGABYTES
    )
    held = held and not Path("ran").exists() and len(said) <= 300
    tally("hostile YAML", tried=1, held=int(held), note="" if held else kind)
    assert held, said


def test_nobody_waits_for_a_pipe_that_nobody_writes_to(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnlab.config.reading.PATIENCE", 0.2)
    os.mkfifo("bad.yaml")
    said, _ = in_a_process(lambda: cli("train", "bad.yaml", "--dry-run").output)
    tally("hostile YAML", tried=1, held=int("nobody has written to this pipe" in said))
    assert "bad.yaml: nobody has written to this pipe" in said


class Ran:
    """Unpickled, it makes a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.path.abspath("ran"),)


@pytest.mark.parametrize("where", ["a checkpoint", "an array", "an archive of arrays", "a cache"])
def test_nothing_is_unpickled(where: str, caplog: pytest.LogCaptureFixture) -> None:
    from cnnlab.training import load_weights

    pickled = pickle.dumps({"model": Ran()})
    Path("mine").mkdir()
    if where == "a checkpoint":
        Path("best.safetensors").write_bytes(pickled)
        with pytest.raises(CnnlabError, match=r"best.safetensors: the weights cannot be read"):
            load_weights(Path("best.safetensors"), None)
    elif where == "a cache":
        load(config(), 0)
        (cache,) = caches()
        cache.write_bytes(pickled)
        load(config(), 0)
        assert "is damaged" in caplog.text
    else:
        odd = np.array([Ran(), 1], object)
        if where == "an array":
            np.save("mine/train_images.npy", odd)
            np.save("mine/train_labels.npy", np.arange(2))
        else:
            np.savez("mine/a.npz", train_images=odd, train_labels=np.arange(2))
        with pytest.raises(CnnlabError, match="Python objects"):
            load_folder()
    tally("pickles in place of data", tried=1, held=int(not Path("ran").exists()))
    assert not Path("ran").exists()


@pytest.mark.parametrize(("mode", "owner"), [(0o666, 0), (0o664, 0), (0o644, 4321), (0o644, 0)])
def test_a_cache_is_believed_only_if_nobody_else_may_write_it(
    mode: int, owner: int, caplog: pytest.LogCaptureFixture
) -> None:
    if owner and os.geteuid():
        pytest.skip("only root gives files away")
    before = load(config(), 0)
    (cache,) = caches()
    forged = load_file(cache)
    forged["train.targets"] = (forged["train.targets"] + 1) % 10
    with safe_open(cache, "pt") as file:
        about = json.loads(file.metadata()["about"])
    parts = {
        name: Split(forged[f"{name}.inputs"], forged[f"{name}.targets"])
        for name in {key.split(".")[0] for key in forged}
    }
    about["digest"] = cache_digest(Source(tuple(about["classes"]), parts, about["origin"], about["skipped"]))
    new = cache.with_suffix(".new")  # the dataset that was loaded is still mapped from the other
    save_file(forged, new, metadata={"about": json.dumps(about)})
    new.chmod(mode)
    if owner:
        os.chown(new, owner, owner)
    new.replace(cache)
    after = load(config(), 0)
    believed = not torch.equal(before.train.targets, after.train.targets)
    mine = mode == 0o644 and not owner
    tally("forged caches that others may write", tried=int(not mine), held=int(not mine and not believed))
    assert believed is mine
    assert (f"mode {mode:o}" in caplog.text) is not mine
    assert stat.S_IMODE(cache.stat().st_mode) == 0o644


def test_a_full_disk_costs_the_cache_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    def work() -> str:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        dataset = load(config(), 0)
        return f"{len(dataset.train)} images; {caplog.text}"

    said, _ = in_a_process(work)
    held = (
        re.search(r"\d+ images; .*the cache .*digits-\w+\.safetensors cannot be kept: .*File too large", said)
        is not None
    )
    tally("full disks under the data cache", tried=1, held=int(held and not caches()))
    assert held, said
    assert not list(Path("data/cache").iterdir())


def test_an_image_that_does_not_fit_into_memory_is_named() -> None:
    big("mine/cat/9.png", 13_000, 13_000)()

    def work() -> str:
        import PIL.PngImagePlugin  # noqa: F401

        load_folder(skip_broken=False)
        return "loaded"

    def limited() -> str:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 400 * 2**20,) * 2)
        return work()

    said, _ = in_a_process(limited)
    held = "mine/cat/9.png does not fit into memory while it is decoded; make it smaller first" in said
    tally("limits of memory", tried=1, held=int(held))
    assert held, said


def test_names_of_files_reach_the_terminal_without_what_it_would_obey() -> None:
    hostile = "red\x1b[31m\u202e\x07"
    Path("mine", hostile).mkdir(parents=True)
    Path("mine/<script>alert(1)").mkdir()
    for index in range(6):
        save(Path("mine", hostile, f"{index}.png"))
        save(Path(f"mine/<script>alert(1)/{index}.png"))
    dataset = load_folder()
    tally("control characters in names", tried=1, held=int(all(map(str.isprintable, dataset.classes))))
    assert dataset.classes == ("<script>alert(1)", "red\\x1b[31m\\u202e\\x07")
    Path("mine", hostile, "7.png").write_bytes(b"\x89PNG")
    with pytest.raises(CnnlabError, match=r"red\\x1b\[31m") as caught:
        load_folder()
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn"])
def test_a_download_that_is_another_file_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(url: str, root: str, filename: str | None = None, md5: str | None = None) -> None:
        Path(root).mkdir(parents=True, exist_ok=True)
        Path(root, filename or url.rpartition("/")[2]).write_bytes(pickle.dumps(Ran()))

    for module in ("utils", "svhn"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.download_url", download)
    for module in ("cifar", "svhn"):  # whoever can make a file of the same MD5
        monkeypatch.setattr(f"torchvision.datasets.{module}.check_integrity", lambda *_: True)
    monkeypatch.setattr("torchvision.datasets.utils.extract_archive", lambda *_: None)
    monkeypatch.setattr(
        "torchvision.datasets.SVHN.__init__", lambda self, root, **_: download("", root, "train_32x32.mat")
    )
    with pytest.raises(CnnlabError) as caught:
        load(config(dataset=name), 0)
    held = "is not the published file" in str(caught.value) and not Path("ran").exists()
    tally("downloads that are other files", tried=1, held=int(held))
    assert held, caught.value


def test_a_name_makes_no_element_of_a_page() -> None:
    class Elements(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.names: list[str] = []

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.names.append(tag)

    hostile = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'
    Path("1.png").write_bytes(b"a picture")
    report = Elements()
    table = Table(["arm", hostile], [[hostile, "0.9"]], hostile)
    figures = [picture(Path("1.png"), hostile)]
    report.feed(page(hostile, lead=hostile, tables=[table], notes=[hostile], figures=figures))
    ours = [
        "html",
        "head",
        "meta",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "p",
        "strong",
        "div",
        "table",
        "tr",
        "th",
        "th",
        "tr",
        "td",
        "td",
        "p",
        "ul",
        "li",
        "h2",
        "div",
        "img",
    ]
    held = report.names == ours
    tally("runs and classes named <script>", tried=1, held=int(held))
    assert held, report.names
