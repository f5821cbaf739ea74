"""The published datasets: read from their files, which torchvision downloads where there is a network."""

import hashlib
import pickle
import sys
import tarfile
from contextlib import redirect_stdout, suppress
from pathlib import Path

import torch

from cnnlab.data.dataset import Source, Split, outside
from cnnlab.data.idx import read_idx_pair
from cnnlab.data.kinds import odd_kind
from cnnlab.errors import BadInput

IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
IDX_CLASSES = {
    "mnist": ("MNIST", tuple("0123456789")),
    "fashion_mnist": (
        "FashionMNIST",
        ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "kmnist": ("KMNIST", ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")),
}
"""Name -> torchvision's class, whose folder's `raw` holds the four files, and the classes' names."""

DEBIAN = {"fashion_mnist": Path("/usr/share/datasets/fashion-mnist")}
"""Where Debian's packages put the same files."""

ARCHIVES = {
    "cifar10": ("CIFAR10", ("cifar-10-python.tar.gz",), "cifar-10-batches-py/data_batch_1"),
    "cifar100": ("CIFAR100", ("cifar-100-python.tar.gz",), "cifar-100-python/train"),
    "svhn": ("SVHN", ("train_32x32.mat", "test_32x32.mat"), ""),
    "voc2012": (
        "VOCSegmentation",
        ("VOCtrainval_11-May-2012.tar",),
        "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt",
    ),
}
"""Name -> torchvision's class, the files that it downloads, and one that it unpacks from them."""


SHA256 = {
    "mnist": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
    "fashion_mnist": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
    "kmnist": (
        "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
    ),
    "cifar10": ("6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",),
    "cifar100": ("85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",),
    "svhn": (
        "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
        "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
    ),
    "voc2012": ("e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb",),
}
"""Of the files that are downloaded, in their order. torchvision itself knows their MD5."""

_UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, LookupError, pickle.UnpicklingError, tarfile.TarError)
"""What torchvision raises of files that are not the published ones, inside or by their checksums."""


def find_files(name: str, root: Path) -> list[Path]:
    """The files of the dataset that are here, all that are needed; empty where one is missing."""
    if name in IDX_CLASSES:
        for folder in (root / IDX_CLASSES[name][0] / "raw", DEBIAN.get(name, root)):
            files = [_plain_or_packed(folder / file) for file in IDX_FILES]
            if all(file.exists() for file in files):
                return files
        return []
    _, archives, unpacked = ARCHIVES[name]
    files = [root / file for file in archives]
    if all(file.exists() for file in files):
        return files
    return [root / unpacked] if unpacked and (root / unpacked).exists() else []


def download(name: str, root: Path) -> None:
    """Have torchvision fetch the files. Raises BadInput, saying which files to put where, if it cannot."""
    from torchvision import datasets
    from torchvision.datasets.utils import download_url

    wanted = [f"{file}.gz" for file in IDX_FILES] if name in IDX_CLASSES else list(ARCHIVES[name][1])
    folder = root / IDX_CLASSES[name][0] / "raw" if name in IDX_CLASSES else root
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with redirect_stdout(sys.stderr):
            if name == "svhn":
                datasets.SVHN(str(root), split="train", download=True)
                datasets.SVHN(str(root), split="test", download=True)
            elif name.startswith("cifar"):  # whose class would read the pickles in it at once
                cls = getattr(datasets, ARCHIVES[name][0])
                download_url(cls.url, str(root), cls.filename, cls.tgz_md5)
            else:
                cls = (IDX_CLASSES.get(name) or ARCHIVES[name])[0]
                getattr(datasets, cls)(str(root), download=True)
    except (OSError, RuntimeError) as error:
        with suppress(OSError):
            for path in new:  # torchvision made them; one that holds a part of a file stays
                path.rmdir()
        package = "; or install Debian's package dataset-fashion-mnist" if name in DEBIAN else ""
        raise BadInput(
            f"data.dataset: {name} is not here and cannot be downloaded ({' '.join(str(error).split())[:50]}); "
            f"put {', '.join(wanted)} into {folder}{package}"
        ) from None
    _check_published(name, [folder / file for file in wanted])


def _check_published(name: str, files: list[Path]) -> None:
    """Raises BadInput for a file that is there and is not the published one."""
    for file, digest in zip(files, SHA256[name], strict=True):
        if file.exists() and (found := _sha256(file)) != digest:
            raise BadInput(
                f"data.root: {file} is not the published file of {name} (its SHA-256 is {found[:16]}..., not "
                f"{digest[:16]}...); remove it, and it is downloaded again"
            )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def read_idx_set(name: str, files: list[Path]) -> Source:
    """MNIST, Fashion-MNIST or KMNIST from its four files, (N, 1, 28, 28)."""
    classes = IDX_CLASSES[name][1]
    train, test = read_idx_pair(files[0], files[1]), read_idx_pair(files[2], files[3])
    for split, path in ((train, files[1]), (test, files[3])):
        if (wrong := outside(split.targets, len(classes))) is not None:
            raise BadInput(f"data.root: {path} has the label {wrong}; {name} has {len(classes)} classes, 0 the first")
    return Source(classes, {"train": train, "test": test}, origin=str(files[0].parent))


def read_archive_set(name: str, root: Path) -> Source:
    """CIFAR-10, CIFAR-100 or SVHN through torchvision, (N, 3, 32, 32). Raises BadInput if files are not those."""
    try:
        return _read_archive_set(name, root)
    except _UNREADABLE as error:
        files = [root / file for file in ARCHIVES[name][1] if (root / file).exists()]
        odd = [f"{file} is {kind}" for file in files if (kind := odd_kind(file))]
        why = odd[0] if odd else " ".join(str(error).split())[:120] or type(error).__name__
        raise BadInput(
            f"data.root: {', '.join(map(str, files)) or root} cannot be read as {name} ({why}); "
            "remove it, and it is downloaded again"
        ) from None


def _read_archive_set(name: str, root: Path) -> Source:
    from torchvision import datasets

    with redirect_stdout(sys.stderr):
        if name == "svhn":
            parts = {split: datasets.SVHN(str(root), split=split) for split in ("train", "test")}
            splits = {
                s: Split(torch.from_numpy(d.data).contiguous(), torch.from_numpy(d.labels).long())
                for s, d in parts.items()
            }
            classes = tuple("0123456789")
        else:
            cls = getattr(datasets, ARCHIVES[name][0])
            parts = {split: cls(str(root), train=split == "train", download=True) for split in ("train", "test")}
            splits = {
                split: Split(torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(part.targets))
                for split, part in parts.items()
            }
            classes = tuple(parts["train"].classes)
    return Source(classes, splits, origin=str(root))


def _plain_or_packed(path: Path) -> Path:
    return path if path.exists() else path.with_name(f"{path.name}.gz")
