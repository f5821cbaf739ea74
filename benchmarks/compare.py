"""A whole comparison, side by side:   uv run --extra peers python benchmarks/compare.py

SGD, momentum and Adam on 10,000 images of Fashion-MNIST: 8 trials each, then the best and the untuned defaults of each
on 5 fresh seeds, by `cnnlab compare`, which records every step's loss in MLflow, and by the same protocol written by
hand with Optuna and a plain loop, which records nothing. Seconds are those of the whole process. In turn (A B, B A).
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.report import machine  # noqa: E402
from benchmarks.searchers.common import Sixteen  # noqa: E402
from benchmarks.sweep import Searcher, run_searcher  # noqa: E402
from benchmarks.train import save_weights, unpack_fashion_mnist  # noqa: E402


def main() -> None:
    arguments = _arguments()
    protocol = (str(arguments.trials), str(arguments.seeds))
    contestants = {
        "cnnlab": Searcher("compare_ours", protocol),
        "Optuna + plain, by hand": Searcher("compare_by_hand", protocol),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    accuracies: dict[str, list[float]] = {}
    images: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        unpack_fashion_mnist(Path(folder, "FashionMNIST", "raw"))
        weights = str(Path(folder, "weights.safetensors"))
        save_weights("fashion", 0, Path(weights))
        asked = Sixteen(folder, weights, "", arguments.epochs, arguments.train_size, arguments.threads)
        for repeat in range(arguments.repeats):
            for name in list(contestants)[:: 1 if repeat % 2 == 0 else -1]:
                took, found = run_searcher(contestants[name], asked, Path(folder))
                seconds[name].append(took)
                accuracies[name], images[name] = found.accuracies, found.images
                print(f"{repeat + 1}/{arguments.repeats}  {name:24} {took:7.1f} s", file=sys.stderr)
    rows = [
        {"name": name, "seconds": times, "images": images[name], "test_accuracies": accuracies[name]}
        for name, times in seconds.items()
    ]
    report = {"machine": machine(), "trials": arguments.trials, "seeds": arguments.seeds, "contestants": rows}
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "compare.json").write_text(json.dumps(report, indent=1) + "\n")
    ours, by_hand = (statistics.median(times) for times in seconds.values())
    for row in rows:
        means = ", ".join(f"{accuracy:.4f}" for accuracy in accuracies[row["name"]])
        print(f"{row['name']:24} {statistics.median(row['seconds']):7.1f} s  {row['images']:,} images  {means}")
    print(f"{by_hand / ours:.2f} x (to reach: 2.5)")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--train-size", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
