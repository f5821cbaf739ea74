"""How often `cnnlab diagnose` finds a fault that a run was made to have, and how often it complains of a healthy run.

    python benchmarks/diagnose.py          # trains the runs that are counted, prints the table; 10 minutes
    python benchmarks/diagnose.py chosen   # the runs by which the limits were chosen: other settings and seeds
    python benchmarks/diagnose.py first    # the runs of the first count, after which some rules were changed
    python benchmarks/diagnose.py again    # those of the second count, after which the rule for high rates was changed

Runs that lie in --into are not trained again.
"""

import argparse
import re
import resource
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

import cnnlab
from cnnlab.config import as_config
from cnnlab.data import load
from cnnlab.reading.diagnosis import curves_of, findings_of, image_findings_of
from cnnlab.tracking import RunDir
from cnnlab.training import Learner, fit

Settings = dict[str, Any]


class Base(NamedTuple):
    """A healthy experiment."""

    data: Settings
    model: Settings
    lr: float
    epochs: int
    optimizer: str = "sgd"

    def settings(self) -> Settings:
        training = {"optimizer.name": self.optimizer, "optimizer.lr": self.lr, "training.epochs": self.epochs}
        return {**self.data, **self.model, **training}


DIGITS: Settings = {"data.dataset": "digits"}
FASHION: Settings = {"data.dataset": "fashion_mnist", "data.train_size": 1200, "data.resize": 12}
SHAPES: Settings = {"data.dataset": "shapes", "data.train_size": 2000}
CNN: Settings = {"model.name": "cnn"}
MLP: Settings = {"model.name": "mlp"}
RECORD: Settings = {"training.record_norms": True}

CHOSEN = {
    "digits cnn": Base(DIGITS, CNN, 0.05, 12),
    "digits mlp": Base(DIGITS, MLP, 0.002, 20, "adam"),
    "shapes cnn": Base(SHAPES, CNN, 0.002, 25, "adam"),
}
FIRST = {
    "fashion cnn": Base(FASHION, CNN | {"model.channels": [8, 16], "model.hidden": [64]}, 0.05, 25),
    "fashion mlp": Base(FASHION, MLP | {"model.hidden": [64]}, 0.002, 25, "adamw"),
    "digits cnn, tanh": Base(DIGITS, CNN | {"model.norm": "batch", "model.activation": "tanh"}, 0.02, 15),
}
AGAIN = {
    "digits cnn, batch": Base(DIGITS, CNN | {"model.channels": [12, 24], "model.norm": "batch"}, 0.03, 15),
    "fashion mlp, 14x14": Base(
        FASHION | {"data.train_size": 1500, "data.resize": 14}, MLP | {"model.hidden": [128]}, 0.001, 15, "adam"
    ),
    "shapes cnn, sgd": Base(SHAPES | {"data.train_size": 1500}, CNN, 0.03, 20),
}
THIRD = {
    "digits cnn, layer": Base(DIGITS, CNN | {"model.channels": [8, 16], "model.norm": "layer"}, 0.003, 12, "adam"),
    "fashion cnn, batch": Base(
        FASHION | {"data.train_size": 1500}, CNN | {"model.channels": [8, 16], "model.norm": "batch"}, 0.02, 10
    ),
    "digits mlp, sgd": Base(DIGITS, MLP | {"model.hidden": [96, 48]}, 0.03, 20),
}
GROUPS = {
    "chosen": (CHOSEN, range(2), range(2)),
    "first": (FIRST, range(100, 103), range(100, 102)),
    "again": (AGAIN, range(200, 202), range(200, 201)),
    "third": (THIRD, range(300, 303), range(300, 301)),
}
"""The experiments, the seeds of healthy runs, and those of runs with a fault."""
HARM = 0.05
"""A rate is too high from this loss of validation accuracy on, compared with the healthy run."""
HEALTHY: tuple[Settings, ...] = (
    RECORD,
    {"data.batch_size": 32},
    {"schedule.name": "constant", "schedule.warmup_epochs": 1},
    {"optimizer.weight_decay": 1e-3},
    {"schedule.name": "onecycle"} | RECORD,
)


def faults(base: Base) -> Iterator[tuple[str, str, Settings]]:
    """The name of the finding, the way in which the fault was made, and the settings."""
    constant = {"schedule.name": "constant"}
    sigmoid = MLP | {"model.hidden": [64] * 10, "model.activation": "sigmoid"}
    linear = MLP | {"model.hidden": [64] * 20, "model.activation": "identity", "model.init": "he_normal"}
    yield (
        "overfitting",
        "a quarter of the labels are wrong, 60 epochs, rate x 2",
        constant | {"training.epochs": 60, "optimizer.lr": 2 * base.lr},
    )
    yield (
        "not_finished",
        "4 epochs at a third of the rate",
        constant | {"training.epochs": 4, "optimizer.lr": base.lr / 3},
    )
    yield "too_long", "100 epochs, rate x 2", constant | {"training.epochs": 100, "optimizer.lr": 2 * base.lr}
    for factor in (4, 8, 16, 32, 64, 128, 256):  # the first that does harm is counted
        yield "learning_rate_too_high", f"rate x {factor}", {"optimizer.lr": base.lr * factor}
    yield "learning_rate_too_low", "rate / 300", {"optimizer.lr": base.lr / 300}
    yield (
        "batch_too_small",
        "batches of 2, rate / 10",
        {"data.batch_size": 2, "training.epochs": 3, "optimizer.lr": base.lr / 10},
    )
    yield "diverged", "sgd, rate 1e4", {"optimizer.name": "sgd", "optimizer.lr": 1e4, "training.epochs": 3}
    yield "stuck", "weights begin at 0", {"model.init": "zeros"}
    yield "stuck", "10 sigmoid layers", sigmoid
    yield (
        "dead_units",
        "rate x 20, sgd, ReLU",
        MLP | RECORD | {"model.hidden": [64, 64], "optimizer.name": "sgd", "optimizer.lr": 1.0},
    )
    yield "vanishing_gradients", "10 sigmoid layers", sigmoid | RECORD
    yield (
        "exploding_gradients",
        "20 linear layers, He's weights",
        linear | RECORD | {"optimizer.name": "adam", "optimizer.lr": 1e-4, "training.epochs": 4},
    )
    if base.model["model.name"] == "lenet5":
        yield "train_below_val", "crop, rotate, cutout", {"data.augment": ["crop", "rotate", "cutout"]}
    else:
        yield "train_below_val", "dropout 0.8", {"model.dropout": 0.8}
    yield "never_predicted", "1 training image of a class", {}
    yield "duplicates", "a tenth of the test images are training images", {}
    yield "confident_errors", "5 % of all labels are wrong", {}


Arrays = dict[str, np.ndarray]


def rare(arrays: Arrays, rng: np.random.Generator) -> None:
    of_class = arrays["train_labels"] == 3
    kept = np.flatnonzero(~of_class | (np.cumsum(of_class) <= 1))
    arrays["train_images"], arrays["train_labels"] = arrays["train_images"][kept], arrays["train_labels"][kept]


def doubled(arrays: Arrays, rng: np.random.Generator) -> None:
    count = len(arrays["test_labels"]) // 10
    chosen = rng.choice(len(arrays["train_labels"]), count, replace=False)
    for kind in ("images", "labels"):
        arrays[f"test_{kind}"] = np.concatenate([arrays[f"test_{kind}"], arrays[f"train_{kind}"][chosen]])


def mislabelled(arrays: Arrays, rng: np.random.Generator, share: float = 0.05) -> None:
    for split in ("train", "val", "test"):
        labels = arrays[f"{split}_labels"]
        wrong, classes = rng.random(len(labels)) < share, labels.max() + 1
        labels[wrong] = (labels[wrong] + rng.integers(1, classes, wrong.sum())) % classes


def confused(arrays: Arrays, rng: np.random.Generator) -> None:
    mislabelled(arrays, rng, 0.25)
    for kind in ("images", "labels"):
        arrays[f"train_{kind}"] = arrays[f"train_{kind}"][:1000]


DAMAGE = {"never_predicted": rare, "duplicates": doubled, "confident_errors": mislabelled, "overfitting": confused}


loaded = cache(load)


def arrays_of(base: Base, fault: str, folder: Path, seed: int) -> Settings:
    """The base's data as an .npz file, with the fault if it is one of the data; at most 600 + 1000 held out."""
    dataset = loaded(as_config(nested(base.data)).data, seed)
    arrays = {}
    for split, most in (("train", None), ("val", 600), ("test", 1000)):
        part = getattr(dataset, split)
        arrays |= {
            f"{split}_images": part.inputs[:most].numpy().copy(),
            f"{split}_labels": part.targets[:most].numpy().copy(),
        }
    if fault in DAMAGE:
        DAMAGE[fault](arrays, np.random.default_rng(seed))
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "data.npz", **arrays)
    return {"data.dataset": "folder", "data.root": str(folder.absolute()), "data.train_size": None}


def nested(settings: Settings) -> Settings:
    """Dotted paths -> sections."""
    sections: dict[str, Any] = {}
    for path, value in settings.items():
        section, _, key = path.partition(".")
        sections.setdefault(section, {})[key] = value
    return sections


class Case(NamedTuple):
    experiment: str
    fault: str
    """The name of its finding; empty for a healthy run."""
    how: str
    folder: Path


def train_all(bases: dict[str, Base], seeds: range, fault_seeds: range, into: Path) -> Iterator[Case]:
    """Train what is not there yet. Of the rates that are higher and higher, the first that does harm is a fault."""
    for seed in seeds:
        for name, base in bases.items():
            here = into / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
            rows = [("", ", ".join(f"{k} {v}" for k, v in change.items()), change) for change in HEALTHY]
            rows += faults(base) if seed in fault_seeds else []
            harmed = False
            for number, (fault, how, change) in enumerate(rows):
                case = Case(name, fault, how, here / f"{number:02}")
                if fault == "learning_rate_too_high" and harmed:
                    continue
                if not (case.folder / "journal.jsonl").exists():
                    train_one(base, case, change, seed)
                if fault == "learning_rate_too_high":
                    harmed = best_score(case.folder) < best_score(here / "00") - HARM
                    if not harmed:
                        continue
                yield case


def train_one(base: Base, case: Case, change: Settings, seed: int) -> None:
    data = case.folder.parent / (f"data-{case.fault}" if case.fault in DAMAGE else "data")
    arrays = arrays_of(base, case.fault, data, seed)
    kept = change.get("model.name", base.model["model.name"]) == base.model["model.name"]
    base_model = base.model if kept else {}
    one = {"training.seed": seed, "place.threads": 1}  # also next to other work
    settings = base._replace(model=base_model).settings() | one | change | arrays
    cnnlab.train(as_config(nested(settings)), tracking_uri="none", run_dir=case.folder)
    print(case.folder, flush=True)


def best_score(folder: Path) -> float:
    """In validation; 0 if the first epoch diverged."""
    return max(curves_of(RunDir(folder.absolute())).scores, default=0)


def processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure_norms(repeats: int = 11) -> None:
    """What `training.record_norms` costs, in processor seconds, ranks included, two ways.

    The share of `Learner.norms` in a `fit` that calls it; and `fit` with and without, in turn, which needs a machine
    that does nothing else. Prints the median, the lowest and the highest of each.
    """
    ranks = {"data.resize": 28, "place.threads": 2, "data.batch_size": 256, "training.epochs": 3}
    for name, settings in (
        ("digits, cnn", DIGITS | {"training.epochs": 20}),
        ("digits at 28x28, cnn, batch 256", DIGITS | ranks),
        ("2,000 shapes, cnn", SHAPES | {"training.epochs": 3}),
    ):
        configs = [as_config(nested(settings | {"training.record_norms": on})) for on in (False, True)]
        dataset = load(configs[0].data, 0)
        seconds: list[list[float]] = [[], []]
        shares = []
        for repeat in range(repeats + 1):  # the first is not counted
            for on in (False, True) if repeat % 2 else (True, False):
                learner = TimedNorms(configs[on], dataset)
                start = processor_seconds()
                for _ in fit(learner, tested=False):
                    pass
                taken = processor_seconds() - start
                if repeat:
                    seconds[on].append(taken)
                    shares += [learner.seconds / taken] * on
        ratios = [on / off - 1 for off, on in zip(*seconds, strict=True)]
        shown = (f"{median(some):.1%} ({min(some):.1%} to {max(some):.1%})" for some in (shares, ratios))
        print(f"| {name} | {learner.ranks.count} | {median(seconds[0]):.2f} s | {' | '.join(shown)} |", flush=True)


class TimedNorms(Learner):
    """Counts the processor seconds of `norms`."""

    seconds = 0.0

    def norms(self) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
        start = processor_seconds()
        found = super().norms()
        self.seconds += processor_seconds() - start
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=GROUPS, nargs="?", default="third")
    parser.add_argument("--norms", action="store_true", help="measure what training.record_norms costs instead")
    parser.add_argument("--into", type=Path, default=Path("diagnose-runs"))
    arguments = parser.parse_args()
    if arguments.norms:
        measure_norms()
        return
    found: list[tuple[Case, list[str]]] = []
    listed: list[bool] = []
    for case in list(train_all(*GROUPS[arguments.which], arguments.into / arguments.which)):
        run = RunDir(case.folder.absolute())
        findings = findings_of(run) + image_findings_of(run)
        if case.fault == "confident_errors":
            listed += truly_wrong(case.folder.parent, " ".join(finding.text for finding in findings))
            continue
        findings = [finding for finding in findings if finding.is_fault]
        found.append((case, [finding.name for finding in findings]))
        wrong = findings if not case.fault else [] if case.fault in found[-1][1] else [None]
        if wrong:
            what = "missed" if case.fault else "false alarm"
            print(f"{what}: {case.folder}, {case.fault} {case.how}: {[f'{f.name}: {f.text}' for f in findings]}")
    print_table(found)
    print(f"of {len(listed)} labels that were listed as confident errors, {sum(listed)} had been made wrong")


def truly_wrong(folder: Path, text: str) -> Iterator[bool]:
    """For each label that `text` lists, as `val 11 (1, not 7?)`: whether the damage changed it."""
    before, after = (np.load(folder / name / "data.npz") for name in ("data", "data-confident_errors"))
    for split, number in re.findall(r"(train|val|test) (\d+) \(", text):
        yield bool(before[f"{split}_labels"][int(number)] != after[f"{split}_labels"][int(number)])


def print_table(found: list[tuple[Case, list[str]]]) -> None:
    """A row per fault: how many runs have it, for how many it was found; then the healthy runs."""
    faults = dict.fromkeys(case.fault for case, _ in found if case.fault)
    print("| fault | runs | found |\n|---|---|---|")
    for fault in faults:
        names = [names for case, names in found if case.fault == fault]
        print(f"| {fault} | {len(names)} | {sum(fault in some for some in names)} |")
    hits = [case.fault in names for case, names in found if case.fault]
    alarms = [bool(names) for case, names in found if not case.fault]
    print(f"| all faults | {len(hits)} | {sum(hits)} ({sum(hits) / len(hits):.1%}) |")
    print(f"| none: healthy | {len(alarms)} | {sum(alarms)} false alarms ({sum(alarms) / len(alarms):.1%}) |")


if __name__ == "__main__":
    main()
