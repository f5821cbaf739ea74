"""The published datasets. torchvision downloads their files; they are read here, or through torchvision."""

import hashlib
import pickle
import sys
import tarfile
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from cnnlab.config import DataConfig
from cnnlab.data.arrays import read_idx_pair
from cnnlab.data.dataset import Source, Split
from cnnlab.data.kinds import bad_files, odd_kind
from cnnlab.data.listing import Unread
from cnnlab.data.masks import Pair, read_pairs
from cnnlab.data.tree import data_root, default_root, links_out
from cnnlab.errors import BadInput

IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
DEBIAN = {"fashion_mnist": Path("/usr/share/datasets/fashion-mnist")}
"""Where Debian's packages put the same files."""

VOC = Path("VOCdevkit", "VOC2012")
"""As the archive has it."""
VOC_LISTS = {
    split: VOC / "ImageSets" / "Segmentation" / f"{of}.txt" for split, of in (("train", "train"), ("test", "val"))
}
"""The masks of VOC's test images are not public, so its val is the test split here."""
VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


class Published(NamedTuple):
    """A published dataset."""

    cls: str
    """torchvision's class."""
    files: dict[str, str]
    """The files that are downloaded -> their SHA-256; torchvision knows only their MD5."""
    folder: str = ""
    """Where torchvision puts them, below the root."""
    unpacked: str = ""
    """One file that torchvision unpacks from them."""
    classes: tuple[str, ...] = ()
    """The classes' names, if the files do not have them."""


def _idx(cls: str, classes: tuple[str, ...], *digests: str) -> Published:
    files = dict(zip((f"{file}.gz" for file in IDX_FILES), digests, strict=True))
    return Published(cls, files, folder=f"{cls}/raw", classes=classes)


PUBLISHED = {
    "mnist": _idx(
        "MNIST",
        tuple("0123456789"),
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
    "fashion_mnist": _idx(
        "FashionMNIST",
        ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
    "kmnist": _idx(
        "KMNIST",
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
    ),
    "cifar10": Published(
        "CIFAR10",
        {"cifar-10-python.tar.gz": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"},
        unpacked="cifar-10-batches-py/data_batch_1",
    ),
    "cifar100": Published(
        "CIFAR100",
        {"cifar-100-python.tar.gz": "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"},
        unpacked="cifar-100-python/train",
    ),
    "svhn": Published(
        "SVHN",
        {
            "train_32x32.mat": "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
            "test_32x32.mat": "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
        },
        classes=tuple("0123456789"),
    ),
    "voc2012": Published(
        "VOCSegmentation",
        {"VOCtrainval_11-May-2012.tar": "e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb"},
        unpacked=str(VOC_LISTS["train"]),
        classes=VOC_CLASSES,
    ),
}

UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, LookupError, pickle.UnpicklingError, tarfile.TarError)
"""What torchvision raises if files are not the published ones."""


def find_published(config: DataConfig) -> Unread:
    """The files of a published dataset, downloaded if they are not there. Raises BadInput if they cannot be."""
    name, root = config.dataset, data_root(config.root) if config.root else default_root()
    if not _files(name, root):
        _download(name, root)
    if name == "voc2012":
        return _find_voc(config, root)
    read = partial(_read_idx, name) if PUBLISHED[name].folder else partial(_read_archives, name, root)
    files = _files(name, root)
    return Unread(files, partial(read, files))


def _files(name: str, root: Path) -> list[Path]:
    """All files that are needed; empty if one is missing."""
    published = PUBLISHED[name]
    if published.folder:
        for folder in (root / published.folder, DEBIAN.get(name, root)):
            plain = [folder / file for file in IDX_FILES]
            files = [path if path.exists() else path.with_name(f"{path.name}.gz") for path in plain]
            if all(path.exists() for path in files):
                return files
        return []
    archives, unpacked = [root / file for file in published.files], root / published.unpacked
    if name != "voc2012" and all(path.exists() for path in archives):
        return archives
    return [unpacked] if unpacked.is_file() else []


def _download(name: str, root: Path) -> None:
    """Have torchvision download the files. Raises BadInput, which says which files to put where, if it cannot."""
    from torchvision import datasets
    from torchvision.datasets.utils import download_url

    published = PUBLISHED[name]
    cls, folder = getattr(datasets, published.cls), root / published.folder
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with redirect_stdout(sys.stderr):
            if name == "svhn":
                for split in ("train", "test"):
                    cls(str(root), split=split, download=True)
            elif name.startswith("cifar"):  # whose class would at once read the pickles in it
                download_url(cls.url, str(root), cls.filename, cls.tgz_md5)
            else:
                cls(str(root), download=True)
    except (OSError, RuntimeError) as error:
        with suppress(OSError):
            for path in new:  # torchvision made them; one that holds a part of a file stays
                path.rmdir()
        package = "; or install Debian's package dataset-fashion-mnist" if name in DEBIAN else ""
        raise BadInput(
            f"data.dataset: {name} is not here and cannot be downloaded ({' '.join(str(error).split())[:50]}); "
            f"put {', '.join(published.files)} into {folder}{package}"
        ) from None
    for file, digest in published.files.items():
        path = folder / file
        if path.exists() and (actual := _sha256(path)) != digest:
            raise bad_files(
                f"{path} is not the published file of {name} (its SHA-256 is {actual[:16]}..., not "
                f"{digest[:16]}...); remove it, and it is downloaded again"
            )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _read_idx(name: str, files: Sequence[Path]) -> Source:
    """MNIST, Fashion-MNIST or KMNIST from its four files, (N, 1, 28, 28)."""
    splits = {"train": read_idx_pair(*files[:2]), "test": read_idx_pair(*files[2:])}
    return Source(PUBLISHED[name].classes, splits, origin=str(files[0].parent))


def _read_archives(name: str, root: Path, files: Sequence[Path]) -> Source:
    """CIFAR-10, CIFAR-100 or SVHN through torchvision, (N, 3, 32, 32). Raises BadInput if files are not those."""
    from torchvision import datasets

    cls, classes, splits = getattr(datasets, PUBLISHED[name].cls), PUBLISHED[name].classes, {}
    try:
        with redirect_stdout(sys.stderr):
            for split in ("train", "test"):
                if name == "svhn":
                    part = cls(str(root), split=split)
                    splits[split] = Split(
                        torch.from_numpy(part.data).contiguous(), torch.from_numpy(part.labels).long()
                    )
                else:
                    part = cls(str(root), train=split == "train", download=True)
                    images = torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous()
                    splits[split], classes = Split(images, torch.tensor(part.targets)), tuple(part.classes)
    except UNREADABLE as error:
        odd = [f"{file} is {kind}" for file in files if (kind := odd_kind(file))]
        why = odd[0] if odd else " ".join(str(error).split())[:120] or type(error).__name__
        raise bad_files(
            f"{', '.join(map(str, files))} cannot be read as {name} ({why}); remove it, and it is downloaded again"
        ) from None
    return Source(classes, splits, origin=str(root))


def _find_voc(config: DataConfig, root: Path) -> Unread:
    """PASCAL VOC 2012's segmentation (Everingham et al. 2010): the images that the lists name, and their masks."""
    again = "unpack VOC's archive again"
    folder, pairs = root / VOC, {}
    for split, path in VOC_LISTS.items():
        try:
            names = (root / path).read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise bad_files(f"{root / path} cannot be read ({error}); {again}") from None
        if not names:
            raise bad_files(f"{root / path} is empty; {again}")
        pairs[split] = [
            Pair(folder / "JPEGImages" / f"{n}.jpg", folder / "SegmentationClass" / f"{n}.png") for n in names
        ]
        if missing := [file for pair in pairs[split] for file in pair if not file.exists()]:
            raise bad_files(f"{missing[0]} is not there, though {root / path} names it; {again}")
    files = [path for some in pairs.values() for pair in some for path in pair]
    files += [root / path for path in VOC_LISTS.values()]
    return Unread(files, partial(read_pairs, pairs, VOC_CLASSES, folder, config), notes=links_out(files, root))
