"""Training speed, side by side:   uv run --extra peers python benchmarks/train.py

The same network, images, batch size, optimizer, initial weights and number of threads for every contestant, each in a
process of its own, in turn (A B C, C B A, ...) and repeated. Writes a table, a JSON file and a bar chart.
"""

import argparse
import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.contestants.job import Job, Outcome  # noqa: E402
from benchmarks.contestants.workloads import WORKLOADS, make_folder  # noqa: E402
from benchmarks.report import draw, machine  # noqa: E402


@dataclass(frozen=True)
class Contestant:
    """A file in `contestants/` and how it is asked to run."""

    module: str
    settings: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ("torch",)


CNNLAB = Contestant("ours", packages=("torch", "mlflow"))
LIMIT = Contestant("limit")
KEPT = {"MALLOC_TRIM_THRESHOLD_": str(2**30), "MALLOC_MMAP_THRESHOLD_": str(2**25)}
"""What cnnlab tells glibc for itself: keep freed memory."""
PLAIN = Contestant("plain", packages=("torch", "torchvision"))

CONTESTANTS = {
    "fashion": {
        "limit": LIMIT,
        "limit (memory kept)": replace(LIMIT, environment=KEPT),
        "cnnlab": CNNLAB,
        "plain": PLAIN,
        "plain (2 workers)": replace(PLAIN, settings={"workers": 2}),
        "Lightning": Contestant("lightning_", packages=("lightning",)),
        "Lightning + MLflow": Contestant("lightning_", {"record": True}, packages=("lightning", "mlflow")),
        "Keras (torch)": Contestant("keras_", {}, {"KERAS_BACKEND": "torch"}, ("keras",)),
        "Keras (jax)": Contestant("keras_", {}, {"KERAS_BACKEND": "jax"}, ("keras", "jax")),
        "fastai": Contestant("fastai_", packages=("fastai",)),
        "skorch": Contestant("skorch_", packages=("skorch",)),
        "Accelerate": Contestant("accelerate_", packages=("accelerate",)),
        "limit (bf16)": Contestant("limit", {"precision": "bf16"}),
        "cnnlab (bf16)": replace(CNNLAB, settings={"precision": "bf16"}),
    },
    "resnet20": {
        "limit": LIMIT,
        "limit (memory kept)": replace(LIMIT, environment=KEPT),
        "cnnlab": CNNLAB,
        "plain": PLAIN,
    },
    "folder": {
        "cnnlab (first run)": Contestant("ours_folder", {"fresh": True}),
        "cnnlab (later runs)": Contestant("ours_folder"),
        "plain (2 workers)": replace(PLAIN, settings={"workers": 2}),
    },
}
ACCURACY_NOISE = 0.02
"""Contestants whose validation accuracies differ by more did not train the same thing."""


def main() -> None:
    arguments = _arguments()
    names = [n for n in CONTESTANTS[arguments.workload] if not arguments.only or n in arguments.only.split(",")]
    outcomes: dict[str, list[Outcome]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        data = _prepare_data(arguments.workload, Path(folder))
        for repeat in range(arguments.repeats):
            job = _job(arguments, repeat, data)
            for name in names if repeat % 2 == 0 else reversed(names):
                outcome = _run(CONTESTANTS[arguments.workload][name], job, Path(folder))
                outcomes[name].append(outcome)
                print(f"{repeat + 1}/{arguments.repeats}  {name:20} {_speed(outcome):9,.0f} images/s", file=sys.stderr)
    warnings = _check_equal_work(outcomes, job)
    report = _report(arguments, job, outcomes, warnings)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / f"{arguments.workload}.json").write_text(json.dumps(report, indent=1) + "\n")
    _print_table(report)
    draw(
        names,
        [[_speed(outcome) for outcome in outcomes[name]] for name in names],
        f"training images/s, evaluation included ({arguments.threads} CPU threads)",
        arguments.output / f"{arguments.workload}.png",
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=WORKLOADS, default="fashion")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", help="names from the table, separated by commas")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--scratch", type=Path, help="where temporary files go")
    return parser.parse_args()


def _prepare_data(workload: str, folder: Path) -> Path:
    """Put the workload's files into a folder."""
    data = folder / "data"
    data.mkdir()
    if workload == "fashion":
        unpack_fashion_mnist(data / "FashionMNIST" / "raw")
    elif workload == "folder":
        make_folder(data)
    return data


def _job(arguments: argparse.Namespace, seed: int, data: Path) -> Job:
    """A repeat has a seed of its own; all contestants begin with the weights that cnnlab gives that seed."""
    workload = WORKLOADS[arguments.workload]
    weights = data.parent / "weights.safetensors"
    save_weights(arguments.workload, seed, weights)
    return Job(
        arguments.workload,
        data=str(data),
        weights=str(weights),
        scratch="",
        epochs=arguments.epochs,
        lr=workload.lr,
        seed=seed,
        threads=arguments.threads,
    )


def save_weights(name: str, seed: int, path: Path) -> None:
    """The initial weights that cnnlab gives a workload's network for a seed."""
    from safetensors.torch import save_file

    from cnnlab.config import RunConfig
    from cnnlab.models import build
    from cnnlab.seeds import derive

    workload = WORKLOADS[name]
    config = RunConfig.model_validate({"model": {"name": workload.model}})
    save_file(build(config.model, workload.shape, workload.classes, derive(seed, "init")).state_dict(), path)


def unpack_fashion_mnist(into: Path) -> None:
    """As torchvision's class wants the files that Debian's package brings."""
    from cnnlab.data.published import DEBIAN

    packed = sorted(DEBIAN["fashion_mnist"].glob("*.gz"))
    if not packed:
        sys.exit("benchmarks/train.py: needs Fashion-MNIST: apt-get install dataset-fashion-mnist")
    into.mkdir(parents=True)
    for path in packed:
        with gzip.open(path) as source, (into / path.stem).open("wb") as target:
            shutil.copyfileobj(source, target)


def _run(contestant: Contestant, job: Job, folder: Path) -> Outcome:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        asked = replace(job, scratch=scratch, **contestant.settings)
        environment = {
            **os.environ,
            **contestant.environment,
            "OMP_NUM_THREADS": str(job.threads),
            "CNNLAB_DATA": str(folder / "cnnlab"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        command = [sys.executable, "-m", f"benchmarks.contestants.{contestant.module}", json.dumps(asdict(asked))]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True)
        if done.returncode:
            sys.exit(f"{contestant.module} failed:\n{done.stderr.decode()}")
        return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def _speed(outcome: Outcome) -> float:
    return outcome.images / outcome.seconds


def _check_equal_work(outcomes: dict[str, list[Outcome]], job: Job) -> list[str]:
    """What was not the same for all: images trained on, losses recorded, accuracies reached."""
    every = [(name, outcome) for name, found in outcomes.items() for outcome in found]
    images = statistics.mode(outcome.images for _, outcome in every)
    batch_size = WORKLOADS[job.workload].batch_size
    steps = job.epochs * -(-images // job.epochs // batch_size)
    accuracy = statistics.median(outcome.accuracy for _, outcome in every)
    warnings = []
    for name, outcome in every:
        if outcome.images != images:
            warnings.append(f"{name} trained on {outcome.images:,} images, most on {images:,}")
        if outcome.rows is not None and outcome.rows != steps:
            warnings.append(f"{name}: {outcome.rows} losses in its database, {steps} steps")
    for name, found in outcomes.items():
        reached = statistics.median(outcome.accuracy for outcome in found)
        if abs(reached - accuracy) > ACCURACY_NOISE:
            warnings.append(f"{name} reached {reached:.4f}, the median of all is {accuracy:.4f}")
    return warnings


def _report(
    arguments: argparse.Namespace, job: Job, outcomes: dict[str, list[Outcome]], warnings: list[str]
) -> dict[str, Any]:
    rows = []
    for name, found in outcomes.items():
        speeds = [_speed(outcome) for outcome in found]
        contestant = CONTESTANTS[arguments.workload][name]
        rows.append(
            {
                "name": name,
                "images_per_second": statistics.median(speeds),
                "lowest": min(speeds),
                "highest": max(speeds),
                "repeats": len(speeds),
                "accuracy": statistics.median(outcome.accuracy for outcome in found),
                "rows": found[0].rows,
                "versions": {package: version(package) for package in contestant.packages},
                "seconds": [outcome.seconds for outcome in found],
            }
        )
    return {
        "workload": arguments.workload,
        "epochs": job.epochs,
        "threads": job.threads,
        "batch_size": WORKLOADS[arguments.workload].batch_size,
        "images_an_epoch": outcomes[rows[0]["name"]][0].images // job.epochs,
        "machine": machine(),
        "warnings": warnings,
        "contestants": rows,
    }


def _print_table(report: dict[str, Any]) -> None:
    here = report["machine"]
    print(f"{here['cpu']}, {report['threads']} threads, {here['instructions']}, Python {here['python']}")
    print(f"{report['workload']}: {report['epochs']} epochs of {report['images_an_epoch']:,} images\n")
    speeds = {row["name"]: row["images_per_second"] for row in report["contestants"]}
    ours = next((speed for name, speed in speeds.items() if name.startswith("cnnlab")), None)
    print("| | images/s | lowest to highest | repeats | cnnlab is | accuracy | losses in MLflow |")
    print("|---|---|---|---|---|---|---|")
    for row in report["contestants"]:
        ratio = f"{ours / row['images_per_second']:.2f} x" if ours else ""
        spread = f"{row['lowest']:,.0f} to {row['highest']:,.0f}"
        recorded = "" if row["rows"] is None else f"{row['rows']:,}"
        print(
            f"| {row['name']} | {row['images_per_second']:,.0f} | {spread} | {row['repeats']} "
            f"| {ratio} | {row['accuracy']:.4f} | {recorded} |"
        )
    for warning in report["warnings"]:
        print(f"warning: {warning}")


if __name__ == "__main__":
    main()
