"""Sixteen trials, side by side:   uv run --extra peers python benchmarks/sweep.py

The same 16 configurations of the design's `cnn` on 20,000 images of Fashion-MNIST, 2 epochs each, run to the end by
`cnnlab sweep`, which records every step's loss in MLflow, and by what people would use instead. Seconds are those of
the whole process, imports and data included; for the limit those of the bare compute. In turn (A B C, C B A, ...).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.report import draw, machine  # noqa: E402
from benchmarks.searchers.common import CONFIGS, Found, Sixteen  # noqa: E402
from benchmarks.train import ACCURACY_NOISE, save_weights, unpack_fashion_mnist  # noqa: E402


@dataclass(frozen=True)
class Searcher:
    """A file in `searchers/` and how it is asked to run."""

    module: str
    words: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ("torch",)


SEARCHERS = {
    "limit": Searcher("limit"),
    "cnnlab": Searcher("ours", packages=("torch", "optuna", "mlflow")),
    "cnnlab (1 worker)": Searcher("ours", settings={"workers": 1}, packages=("torch", "optuna", "mlflow")),
    "cnnlab (precision auto)": Searcher("ours", settings={"precision": "auto"}, packages=("torch", "optuna", "mlflow")),
    "Optuna + plain": Searcher("optuna_", packages=("torch", "optuna")),
    "Optuna + Lightning + MLflow": Searcher("optuna_", ("lightning",), packages=("optuna", "lightning", "mlflow")),
    "Ray Tune": Searcher("ray_", packages=("torch", "ray")),
    "KerasTuner": Searcher("keras_tuner_", (), {}, {"KERAS_BACKEND": "torch"}, ("keras", "keras-tuner")),
}


def main() -> None:
    arguments = _arguments()
    names = [name for name in SEARCHERS if not arguments.only or name in arguments.only.split(",")]
    results: dict[str, list[tuple[float, Found]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        unpack_fashion_mnist(Path(folder, "FashionMNIST", "raw"))
        save_weights("fashion", 0, Path(folder, "weights.safetensors"))
        asked = Sixteen(
            folder,
            str(Path(folder, "weights.safetensors")),
            "",
            epochs=arguments.epochs,
            train_size=arguments.train_size,
            threads=arguments.threads,
        )
        for repeat in range(arguments.repeats):
            for name in names if repeat % 2 == 0 else reversed(names):
                seconds, found = run_searcher(SEARCHERS[name], asked, Path(folder))
                results[name].append((seconds, found))
                print(f"{repeat + 1}/{arguments.repeats}  {name:28} {seconds:7.1f} s", file=sys.stderr)
    report = _report(arguments, results)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "sweep.json").write_text(json.dumps(report, indent=1) + "\n")
    _print_table(report)
    draw(
        names,
        [[seconds for seconds, _ in results[name]] for name in names],
        f"seconds for 16 trials ({arguments.threads} CPU cores)",
        arguments.output / "sweep.png",
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--train-size", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", help="names from the table, separated by commas")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--scratch", type=Path, help="where temporary files go")
    return parser.parse_args()


def run_searcher(searcher: Searcher, asked: Sixteen, folder: Path) -> tuple[float, Found]:
    """Seconds and what was found."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        job = replace(asked, scratch=scratch, **searcher.settings)
        environment = {
            **os.environ,
            **searcher.environment,
            "PYTHONPATH": str(ROOT),
            "CNNLAB_DATA": str(folder / "cnnlab"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # compiled modules are there, as in any installation
        words = [sys.executable, "-m", f"benchmarks.searchers.{searcher.module}", json.dumps(asdict(job))]
        began = time.perf_counter()
        done = subprocess.run([*words, *searcher.words], cwd=ROOT, env=environment, capture_output=True)
        seconds = time.perf_counter() - began
        if done.returncode:
            sys.exit(f"{searcher.module} failed:\n{done.stderr.decode()}")
        found = Found(**json.loads(done.stdout.splitlines()[-1]))
        return found.seconds or seconds, found


def _report(arguments: argparse.Namespace, results: dict[str, list[tuple[float, Found]]]) -> dict[str, Any]:
    rows = [
        {
            "name": name,
            "seconds": [seconds for seconds, _ in found],
            "best_accuracy": statistics.median(max(one.accuracies) for _, one in found),
            "mean_accuracy": statistics.median(statistics.fmean(one.accuracies) for _, one in found),
            "rows": found[0][1].rows,
            "images": found[0][1].images,
            "versions": {package: version(package) for package in SEARCHERS[name].packages},
        }
        for name, found in results.items()
    ]
    return {
        "trials": len(CONFIGS),
        "epochs": arguments.epochs,
        "train_size": arguments.train_size,
        "threads": arguments.threads,
        "machine": machine(),
        "warnings": _check_equal_work(arguments, rows),
        "searchers": rows,
    }


def _check_equal_work(arguments: argparse.Namespace, rows: list[dict[str, Any]]) -> list[str]:
    """What was not the same for all: images trained on, losses recorded, accuracies reached."""
    images = len(CONFIGS) * arguments.epochs * arguments.train_size
    steps = sum(arguments.epochs * -(-arguments.train_size // int(config["batch_size"])) for config in CONFIGS)
    middle = statistics.median(row["mean_accuracy"] for row in rows)
    warnings = []
    for row in rows:
        if row["images"] != images:
            warnings.append(f"{row['name']} trained on {row['images']:,} images, {images:,} were asked for")
        if row["rows"] not in (None, steps):
            warnings.append(f"{row['name']}: {row['rows']} losses in its database, {steps} steps")
        if abs(row["mean_accuracy"] - middle) > ACCURACY_NOISE:
            warnings.append(f"{row['name']} reached {row['mean_accuracy']:.4f} on average, the median is {middle:.4f}")
    return warnings


def _print_table(report: dict[str, Any]) -> None:
    here = report["machine"]
    print(f"{here['cpu']}, {report['threads']} cores, {here['instructions']}, Python {here['python']}")
    print(f"{report['trials']} trials of {report['epochs']} epochs of {report['train_size']:,} images\n")
    medians = {row["name"]: statistics.median(row["seconds"]) for row in report["searchers"]}
    ours = medians.get("cnnlab")
    print("| | seconds | lowest to highest | repeats | cnnlab is | mean accuracy | losses in MLflow |")
    print("|---|---|---|---|---|---|---|")
    for row in report["searchers"]:
        ratio = f"{medians[row['name']] / ours:.2f} x" if ours else ""
        spread = f"{min(row['seconds']):.1f} to {max(row['seconds']):.1f}"
        recorded = "" if row["rows"] is None else f"{row['rows']:,}"
        print(
            f"| {row['name']} | {medians[row['name']]:.1f} | {spread} | {len(row['seconds'])} | {ratio} "
            f"| {row['mean_accuracy']:.4f} | {recorded} |"
        )
    for warning in report["warnings"]:
        print(f"warning: {warning}")


if __name__ == "__main__":
    main()
