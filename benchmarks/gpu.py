"""cnnlab on one GPU, in less than 8 minutes:   python benchmarks/gpu.py

Equal bits, kernels and waits per step, speed and peak memory beside a loop by hand and beside a CUDA graph of that
loop, a sweep, and the tests marked `gpu`. Needs no network and no files. Each part is a process of its own with a time
limit, so that none can stop the others. Prints a table and writes gpu.json. The exit code is 1 if a part failed or if
bits differ, and 2 if there is no CUDA device.
"""

import argparse
import gc
import json
import os
import signal
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.report import machine  # noqa: E402

TOTAL_SECONDS = 455.0
"""Of all parts together; with the start of this program they stay below 8 minutes."""


@dataclass(frozen=True)
class Row:
    """One line of the table: a value per repeat. Of the unit "equal", 1 is yes and 0 is no."""

    name: str
    unit: str
    values: list[float]


@dataclass(frozen=True)
class Lab:
    """Where, for how many seconds, and how much a part measures.

    train: images, whole batches of each workload. steps: those that are profiled. epochs: of each run that is compared
    bit for bit, and of each trial.
    """

    device: str
    seconds: float
    train: int = 51_200
    repeats: int = 7
    steps: int = 20
    epochs: int = 3
    trials: int = 8


SMALL: dict[str, Any] = {"train": 512, "repeats": 1, "steps": 2, "epochs": 1, "trials": 2}
"""Of a Lab on a CPU, where only this program itself is tried."""


@dataclass(frozen=True)
class Workload:
    """A network, and the shape of its images."""

    model: str
    batch_size: int
    shape: tuple[int, int, int]
    epochs: int

    def dataset(self, lab: Lab) -> Any:
        """Seeded noise over a faint picture per class, so that there is something to learn."""
        from cnnlab.data import Dataset, Split

        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> torch.Tensor:
            return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8) // 8

        pictures = draw(10, *self.shape)

        def split(size: int) -> Any:
            labels = torch.randint(0, 10, (size,), generator=generator)
            return Split(draw(size, *self.shape) * 7 + pictures[labels], labels)

        sizes = (lab.train, lab.train // 10, 1_000)
        return Dataset("made", tuple("0123456789"), *map(split, sizes), digest="0" * 32, source=__file__)

    def learner(self, lab: Lab, precision: str, dataset: Any) -> Any:
        from cnnlab.config import read_config
        from cnnlab.training import Learner

        settings = {
            "model.name": self.model,
            "data.batch_size": self.batch_size,
            "optimizer.name": "sgd",
            "schedule.name": "constant",
            "training.epochs": self.epochs,
            "training.precision": precision,
            "place.device": lab.device,
            "place.residence": "device",
        }
        learner = Learner(read_config(None, settings)[0], dataset)
        # as cnnlab has them while it trains: the same for all contestants
        torch.set_num_threads(learner.operator_threads)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        return learner


WORKLOADS = {
    "cnn-64": Workload("cnn", 64, (1, 28, 28), epochs=2),
    "cnn-1024": Workload("cnn", 1024, (1, 28, 28), epochs=10),
    "resnet20-128": Workload("resnet20", 128, (3, 32, 32), epochs=1),
}


class ByHand:
    """A loop by hand: the learner's weights, images and order of batches; nothing is guarded, nothing recorded.

    Args:
        graph: whether a step is captured once as a CUDA graph and replayed; on a CPU it is not.
    """

    def __init__(self, learner: Any, graph: bool) -> None:
        config, device, val = learner.config, learner.device, learner.dataset.val
        self.network, self.images, self.seed = learner.network, learner.batches.split, config.training.seed
        self.val = list(zip(val.inputs.to(device).split(1024), val.targets.to(device).split(1024), strict=True))
        self.indices = torch.zeros(learner.batches.batch_size, dtype=torch.int64, device=device)
        self.loss, self.correct = torch.zeros((), device=device), torch.zeros((), device=device)
        lr, momentum = config.optimizer.lr, config.optimizer.momentum
        self.optimizer = torch.optim.SGD(learner.weights, lr=lr, momentum=momentum, fused=True)
        self.network.model.train()
        self.take = self._captured() if graph and device.type == "cuda" else self.step

    def step(self) -> None:
        """One update from the images at `indices`."""
        inputs = self.images.inputs.index_select(0, self.indices)
        targets = self.images.targets.index_select(0, self.indices)
        self.optimizer.zero_grad()
        outputs = self.network(inputs, targets)
        loss = F.cross_entropy(outputs, targets)
        loss.backward()
        self.optimizer.step()
        self.loss.add_(loss.detach())
        self.correct.add_((outputs.detach().argmax(1) == targets).sum())

    def _captured(self) -> Callable[[], None]:
        """As torch's notes on CUDA graphs have it: warm up on a side stream, then capture, here on the same stream."""
        weights = {name: tensor.clone() for name, tensor in self.network.model.state_dict().items()}
        stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):  # makes the momentum, without which fused SGD would capture its first step
                self.step()
        torch.cuda.current_stream().wait_stream(stream)
        self.optimizer.zero_grad()  # the gradients are to lie in the graph's own memory
        with torch.cuda.graph(graph, stream=stream):
            self.step()
        self.network.model.load_state_dict(weights)
        for tensor in (self.loss, *(state["momentum_buffer"] for state in self.optimizer.state.values())):
            tensor.zero_()
        return graph.replay

    def train(self, epochs: int) -> tuple[float, float]:
        """Images per second, evaluations included, and the mean loss of the first epoch."""
        from cnnlab.seeds import derive

        size, count = len(self.indices), len(self.images)
        assert count % size == 0, "a graph takes whole batches only"
        losses, began = [], time.perf_counter()
        for epoch in range(epochs):
            generator = torch.Generator().manual_seed(derive(self.seed, "order", epoch))
            order = torch.randperm(count, generator=generator).to(self.indices.device)
            self.network.model.train()
            for indices in order.split(size):
                self.indices.copy_(indices)
                self.take()
            losses.append(self.loss.item() / (count // size))
            self.loss.zero_()
            self._evaluate()
        return epochs * count / (time.perf_counter() - began), losses[0]

    @torch.inference_mode()
    def _evaluate(self) -> None:
        self.network.model.eval()
        torch.stack([(self.network(x, y).argmax(1) == y).sum() for x, y in self.val]).tolist()


def by_cnnlab(learner: Any, recorded: bool) -> tuple[float, float]:
    """What ByHand.train gives, of cnnlab's own loop; recorded: with a journal and checkpoints."""
    from cnnlab.records import Epoch
    from cnnlab.run import create_run, record_run
    from cnnlab.training import fit

    run = create_run(learner.config, "benchmark", "none") if recorded else None
    *records, ended = record_run(learner, run) if run else fit(learner)
    assert ended.status == "finished", ended.reason
    return ended.images_per_second, next(r.train["loss"] for r in records if isinstance(r, Epoch))


CONTESTANTS: dict[str, tuple[str, Callable[[Any, int], tuple[float, float]]]] = {
    "cnnlab": ("fp32", lambda learner, epochs: by_cnnlab(learner, recorded=True)),
    "cnnlab, nothing recorded": ("fp32", lambda learner, epochs: by_cnnlab(learner, recorded=False)),
    "bare loop": ("fp32", lambda learner, epochs: ByHand(learner, graph=False).train(epochs)),
    "CUDA graph": ("fp32", lambda learner, epochs: ByHand(learner, graph=True).train(epochs)),
    "cnnlab, bf16": ("bf16", lambda learner, epochs: by_cnnlab(learner, recorded=True)),
    "CUDA graph, bf16": ("bf16", lambda learner, epochs: ByHand(learner, graph=True).train(epochs)),
}
"""Name -> precision, and what trains a fresh learner."""


def speed(lab: Lab, name: str) -> Iterator[Row]:
    """Images per second and peak memory of all contestants, in turn (A B C, C B A, ...) after a round that warms up."""
    workload, began = WORKLOADS[name], time.monotonic()
    dataset = workload.dataset(lab)
    taken: dict[str, list[tuple[float, ...]]] = {who: [] for who in CONTESTANTS}
    for repeat in range(lab.repeats + 1):
        round_began = time.monotonic()
        for who in CONTESTANTS if repeat % 2 == 0 else reversed(CONTESTANTS):
            precision, train = CONTESTANTS[who]
            gc.collect()
            torch.cuda.empty_cache()
            if torch.cuda.is_initialized():
                torch.cuda.reset_peak_memory_stats()
            images_per_second, loss = train(workload.learner(lab, precision, dataset), workload.epochs)
            peaks = torch.cuda.max_memory_allocated() / 2**20, torch.cuda.max_memory_reserved() / 2**20
            taken[who].append((images_per_second, loss, *peaks))
        now = time.monotonic()
        if repeat and now - began + 1.2 * (now - round_began) > 0.8 * lab.seconds:
            break
    losses = []
    for who, repeats in taken.items():
        speeds, loss, tensors, reserved = map(list, zip(*repeats[1:], strict=True))
        losses.append(statistics.median(loss))
        yield Row(f"{name}: {who}", "images/s", speeds)
        yield Row(f"{name}: {who}: peak of tensors", "MiB", tensors)
        yield Row(f"{name}: {who}: peak reserved", "MiB", reserved)
    alike = max(losses) <= 1.05 * min(losses)
    yield Row(f"{name}: all first epochs have the same mean loss within 5 %", "equal", [float(alike)])


def launches(lab: Lab, name: str) -> Iterator[Row]:
    """Kernels, calls that launch them, copies to the CPU, and waits."""
    from cnnlab.training.checkpoint import save_tensors
    from cnnlab.training.fit import run_started
    from cnnlab.training.ledger import Ledger

    dataset = WORKLOADS[name].dataset(lab)
    learner, other, captured = (WORKLOADS[name].learner(lab, "fp32", dataset) for _ in range(3))
    ledger = Ledger(learner.config, run_started(learner), learner.task.step_metrics)
    learner.begin_epoch(0)
    work: dict[str, tuple[str, int, Callable[[], object]]] = {
        "cnnlab": ("step", lab.steps, lambda: learner.step(*ledger.next_step())),
        "cnnlab, losses": ("look", 1, learner.collect),
        "cnnlab, val": ("measurement", 1, lambda: learner.measure("val")),
        "cnnlab, checkpoint": ("file", 1, lambda: save_tensors(learner.state()[0], Path("checkpoint.safetensors"))),
        "bare loop": ("step", lab.steps, ByHand(other, graph=False).take),
        "CUDA graph": ("step", lab.steps, ByHand(captured, graph=True).take),
    }
    for who, (what, times, function) in work.items():
        if what == "step":
            function()  # what is made once is not counted
        counts = _counted(function, times, lab.device)
        if who == "cnnlab" and lab.device == "cuda" and not counts["kernels"]:
            raise RuntimeError("the profiler sees no kernels here; does CUPTI work?")
        for kind, count in counts.items():
            yield Row(f"{name}: {who}: {kind}", f"per {what}", [count / times])


def _counted(work: Callable[[], object], times: int, device: str) -> Mapping[str, int]:
    """What the profiler sees of `work`. Its own wait at the end, a cudaDeviceSynchronize, is not counted."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    with profile(activities=activities) as profiler:
        for _ in range(times):
            work()
    counts = {"kernels": 0, "launching calls": 0, "copies to the CPU": 0, "waits": 0}
    for event in profiler.events():
        if event.device_type == DeviceType.CUDA:
            copy = event.name.startswith(("Memcpy", "Memset"))
            counts["kernels"] += not (copy or event.is_user_annotation)
            counts["copies to the CPU"] += event.name.startswith("Memcpy DtoH")
        counts["launching calls"] += event.name.startswith(("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch"))
        counts["waits"] += event.name.startswith(("cudaStreamSynchronize", "cudaEventSynchronize"))
    return counts


RUNS: dict[str, dict[str, Any]] = {
    "cnn with dropout": {"data.dataset": "digits", "model.dropout": 0.3},
    "cnn with dropout, bf16": {"data.dataset": "digits", "model.dropout": 0.3, "training.precision": "bf16"},
    "resnet20 with flips and crops": {
        "data.dataset": "shapes",
        "data.augment": ["flip", "crop"],
        "data.batch_size": 128,
        "model.name": "resnet20",
    },
}


def bits(lab: Lab, names: Sequence[str] = tuple(RUNS)) -> Iterator[Row]:
    """Whether runs of one config have the same weights: twice, stopped in the first epoch and resumed, streamed."""
    import cnnlab
    from cnnlab.records import Steps

    for name in names:
        config = {"training.precision": "fp32", "training.epochs": lab.epochs, **RUNS[name]}
        config |= {"training.checkpoint_every": 5, "place.device": lab.device, "place.residence": "device"}
        first, second = (cnnlab.train(config, tracking_uri="none") for _ in range(2))
        yield Row(f"{name}: two runs", "equal", [float(first.weights_sha256 == second.weights_sha256)])
        with cnnlab.Training(config, tracking_uri="none") as training:
            for record in training:
                if isinstance(record, Steps):
                    training.stop()
        assert training.result.status == "interrupted"
        resumed = cnnlab.resume(training.run.run_id)
        yield Row(f"{name}: stopped, resumed", "equal", [float(first.weights_sha256 == resumed.weights_sha256)])
    streamed = cnnlab.train({**config, "place.residence": "stream"}, tracking_uri="none")
    yield Row(f"{name}: streamed", "equal", [float(first.weights_sha256 == streamed.weights_sha256)])
    yield Row(f"{name}: on the device", "images/s", [first.images_per_second, second.images_per_second])
    yield Row(f"{name}: streamed", "images/s", [streamed.images_per_second])


def sweep(lab: Lab, workers: Sequence[int] = (1, 4)) -> Iterator[Row]:
    """A sweep by the command: in one process, and in four that share the GPU."""
    words = ["--dataset", "shapes", "--epochs", lab.epochs, "--trials", lab.trials, "--pruner", "none", "--json", "-q"]
    words += ["--device", lab.device, "--confirm", 0, "--tracking-uri", "none"]
    for count in workers:
        command = [sys.executable, "-m", "cnnlab", "sweep", *words, "--workers", count, "--study", f"workers-{count}"]
        began = time.monotonic()
        done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, check=True)
        yield Row(f"sweep of {lab.trials} trials, workers: {count}", "s", [time.monotonic() - began])
        complete = json.loads(done.stdout)["trials"]["complete"]
        yield Row(f"all trials complete, workers: {count}", "equal", [float(complete == lab.trials)])


def tests(lab: Lab) -> Iterator[Row]:
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-n", "0", "-q"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    print(done.stdout[-4000:], file=sys.stderr)
    yield Row(f"pytest -m gpu: {done.stdout.splitlines()[-1]}", "equal", [float(done.returncode == 0)])


def gpu(lab: Lab) -> Iterator[Row]:
    if lab.device == "cuda":
        about, cudnn = torch.cuda.get_device_properties(0), torch.backends.cudnn.version()
        name = f"{about.name}, capability {about.major}.{about.minor}, CUDA {torch.version.cuda}, cuDNN {cudnn}"
        yield Row(name, "GiB", [about.total_memory / 2**30])


PARTS: dict[str, tuple[float, Callable[[Lab], Iterator[Row]]]] = {
    "gpu": (20, gpu),
    "bits": (80, bits),
    "launches-cnn": (30, lambda lab: launches(lab, "cnn-64")),
    "launches-resnet20": (30, lambda lab: launches(lab, "resnet20-128")),
    **{name: (70, lambda lab, name=name: speed(lab, name)) for name in WORKLOADS},
    "sweep": (60, sweep),
    "tests": (60, tests),
}
"""Name -> the most seconds that it may take, and what it measures."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS))
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results", help="a folder for gpu.json")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: to try this program")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)  # this process is a part
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.part:
        for row in PARTS[asked.part][1](Lab(asked.device, asked.seconds, **(SMALL if asked.device == "cpu" else {}))):
            print(json.dumps(asdict(row)), flush=True)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if asked.device == "cuda" and not torch.cuda.is_available():
            print("benchmarks/gpu.py: PyTorch sees no CUDA device here; nothing was measured", file=sys.stderr)
            sys.exit(2)
    command = [sys.executable, __file__, "--device", asked.device]
    report = {"machine": machine(), "torch": torch.__version__, "device": asked.device, "parts": {}}
    asked.output.mkdir(parents=True, exist_ok=True)
    for name, part in run_parts({name: ([*command, "--part", name], PARTS[name][0]) for name in asked.only}):
        _print_part(name, part)
        report["parts"][name] = part
        (asked.output / "gpu.json").write_text(json.dumps(report, indent=1) + "\n")  # each time, if this is killed
    parts = report["parts"].values()
    unequal = [row for part in parts for row in part["rows"] if row["unit"] == "equal" and not all(row["values"])]
    sys.exit(1 if unequal or any(part["failed"] for part in parts) else 0)


def run_parts(commands: Mapping[str, tuple[Sequence[str], float]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run each part's command; yield its rows, and in "failed" why it did not come to its end.

    Args:
        commands: part -> its command, to which --seconds is appended, and its limit in seconds.
    """
    deadline = time.monotonic() + TOTAL_SECONDS
    with TemporaryDirectory() as folder:
        for name, (command, limit) in commands.items():
            began, scratch = time.monotonic(), Path(folder, name)
            scratch.mkdir()
            failed = _run_command(command, max(1.0, min(limit, deadline - began)), scratch)
            rows = [json.loads(line) for line in (scratch / "stdout").read_text().splitlines() if line[0:1] == "{"]
            error = (scratch / "stderr").read_text(errors="replace")[-4000:]
            yield name, {"seconds": time.monotonic() - began, "rows": rows, "failed": failed, "stderr": error}


def _run_command(command: Sequence[str], seconds: float, scratch: Path) -> str:
    """Why it failed, in one line; "" if it did not. If it takes too long, its children end with it."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "CNNLAB_DATA": str(scratch.parent / "data")}
    where: dict[str, Any] = {"cwd": scratch, "env": environment, "start_new_session": True}
    with (scratch / "stdout").open("w") as out, (scratch / "stderr").open("w") as error:  # children could block a pipe
        process = subprocess.Popen([*command, "--seconds", str(seconds)], stdout=out, stderr=error, **where)
        try:
            code = process.wait(seconds)
        except BaseException as stop:
            os.killpg(process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):  # it may be inside the driver
                process.wait(5)
            if isinstance(stop, subprocess.TimeoutExpired):
                return f"not done after {seconds:.0f} s"
            raise
    lines = (scratch / "stderr").read_text(errors="replace").strip().splitlines() or [""]
    return f"exit code {code}: {lines[-1]}" if code else ""


def _print_part(name: str, part: Mapping[str, Any]) -> None:
    print(f"\n{name} ({part['seconds']:.0f} s)" + (f": FAILED, {part['failed']}" if part["failed"] else ""), flush=True)
    for row in part["rows"]:
        values, unit = row["values"], row["unit"]
        spread = f"  ({min(values):,.2f} to {max(values):,.2f}, {len(values)} times)" if len(values) > 1 else ""
        said = f"{statistics.median(values):12,.2f} {unit}{spread}"
        print(f"  {row['name']:70} {said if unit != 'equal' else 'yes' if all(values) else 'NO'}", flush=True)


if __name__ == "__main__":
    main()
