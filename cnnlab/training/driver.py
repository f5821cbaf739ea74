"""The loop: asks a trainer for steps, keeps each run's ledger, and yields what happens. It knows no network.

One network is one row. Many small networks that are trained side by side on one device are many rows, each with a
ledger of its own; a network that several processes train together is one row in each, with sums that its trainer has
added over the processes.
"""

import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from cnnlab.records import CheckpointSealed, Record, RunEnded
from cnnlab.training.checkpoint import Checkpoint, seal
from cnnlab.training.device import out_of_memory
from cnnlab.training.ledger import Diverged, Ledger, Measured, Order, Position, Taken
from cnnlab.training.weights import save_tensors, weights_digest

LOOK_SECONDS = 0.25
"""How often the loop looks at the losses, which on an accelerator means waiting for it."""

WEIGHTS_FILE = "checkpoints/best.safetensors"
EXAMPLES_FILE = "examples.safetensors"

Said = tuple[int, Record]
"""A row, and what happened to it."""


class Trainer(Protocol):
    """What the driver asks of whatever trains. All rows take their steps together, so an epoch has as many for each."""

    def begin_epoch(self, rows: Mapping[int, Position]) -> None:
        """Get ready for the batches of each row from its position on."""

    def step(self, orders: Mapping[int, Order]) -> None:
        """One update of each row, from its next batch. Does not wait for the device."""

    def collect(self) -> Mapping[int, Taken]:
        """What the steps since the last call came to. Waits for the device."""

    def measure(self, rows: Collection[int], split: str) -> Mapping[int, Measured]:
        """Each row's network on the split `val` or `test`."""

    def examples(self, row: int) -> dict[str, Tensor]:
        """Test samples with the answers of the row's network, for the task's figure; empty if it shows none."""

    def keep_best(self, row: int) -> None:
        """The weights as they are now are the row's best."""

    def best_weights(self, row: int) -> dict[str, Tensor]: ...

    def load_best(self, row: int) -> None:
        """Put the best weights in place of the present ones."""

    def state(self, row: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that a further step depends on, beside the position: tensors by name, and plain values."""


@dataclass
class Seat:
    """A run in its row: its ledger, and what is kept of it."""

    ledger: Ledger
    folder: Path | None = None
    """The run's directory, for checkpoints and the best weights; None keeps nothing."""
    tested: bool = True
    """Whether the test split is measured at the end."""


def drive(
    trainer: Trainer, seats: dict[int, Seat], refill: Callable[[int], Seat | None] = lambda row: None
) -> Generator[Said, None, None]:
    """Train every row to its end; yield what happens, row by row.

    Closing the iterator seals a checkpoint of the last step of each run (if it has a folder) and stops. A reader that
    wants one run to end calls its ledger's `stop`; the others go on.

    Args:
        seats: the runs by row; those that have ended are taken out.
        refill: asked at the end of a run for another to take its row; the trainer has it then.
    """
    try:
        for row, seat in seats.items():
            yield row, seat.ledger.start()
        while seats:
            yield from _end_rows(trainer, seats, refill)
            if seats:
                yield from _train_epoch(trainer, seats)
    except GeneratorExit:
        for row, seat in seats.items():
            _seal(trainer, row, seat)
        raise
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        for row, seat in seats.items():
            yield row, seat.ledger.out_of_memory()


def _end_rows(trainer: Trainer, seats: dict[int, Seat], refill: Callable[[int], Seat | None]) -> Iterator[Said]:
    """End the runs that are done or were stopped; let others take their rows."""
    for row, seat in list(seats.items()):
        if not (seat.ledger.stopped or seat.ledger.done):
            continue
        yield row, seat.ledger.stopped or _finish(trainer, row, seat)
        del seats[row]
        if another := refill(row):
            seats[row] = another
            yield row, another.ledger.start()


def _train_epoch(trainer: Trainer, seats: dict[int, Seat]) -> Iterator[Said]:
    yield from _take_steps(trainer, seats)
    measured = trainer.measure(seats, "val") if seats else {}
    for row, seat in list(seats.items()):
        if seat.ledger.stopped:
            continue
        try:
            epoch = seat.ledger.end_epoch(measured[row])
        except Diverged as diverged:
            del seats[row]
            yield row, seat.ledger.diverged(diverged)
            continue
        if epoch.best:
            trainer.keep_best(row)
        yield row, epoch
        if sealed := _seal(trainer, row, seat):
            yield row, sealed


def _take_steps(trainer: Trainer, seats: dict[int, Seat]) -> Iterator[Said]:
    """The rest of an epoch."""
    trainer.begin_epoch({row: seat.ledger.position for row, seat in seats.items()})
    steps, looked = max(seat.ledger.steps_left for seat in seats.values()), time.perf_counter()
    for left in reversed(range(steps)):
        trainer.step({row: seat.ledger.order() for row, seat in seats.items()})
        due = [row for row, seat in seats.items() if seat.ledger.checkpoint_is_due()]
        if not (due or left == 0 or time.perf_counter() - looked > LOOK_SECONDS):
            continue
        yield from _look(trainer, seats)
        for row in due:
            if row in seats and (sealed := _seal(trainer, row, seats[row])):
                yield row, sealed
        if not seats:
            return
        looked = time.perf_counter()


def _look(trainer: Trainer, seats: dict[int, Seat]) -> list[Said]:
    """What the steps since the last look came to: the one place of an epoch's steps that waits for the device.

    All rows are noted before anyone hears of one, so that closing the iterator finds every ledger complete.
    """
    said: list[Said] = []
    for row, taken in trainer.collect().items():
        if row not in seats:
            continue
        ledger = seats[row].ledger
        try:
            said.append((row, ledger.note(taken)))
        except Diverged as diverged:
            del seats[row]
            said.append((row, ledger.diverged(diverged)))
    return said


def _seal(trainer: Trainer, row: int, seat: Seat) -> CheckpointSealed | None:
    if seat.folder is None:
        return None
    ledger = {"progress": seat.ledger.state(), "run": seat.ledger.identity}
    tensors, values = trainer.state(row)
    tensors.update({f"best.{name}": tensor for name, tensor in trainer.best_weights(row).items()})
    at = seat.ledger.position
    path = seal(seat.folder / "checkpoints", at.step, Checkpoint(tensors, {**values, **ledger}))
    return CheckpointSealed(time.time(), at.step, at.epoch, path.name)


def _finish(trainer: Trainer, row: int, seat: Seat) -> RunEnded:
    """Keep the best epoch's weights, and measure the test split with them, once, with examples for a figure."""
    trainer.load_best(row)
    weights = trainer.best_weights(row)
    if seat.folder:
        save_tensors(weights, seat.folder / WEIGHTS_FILE)
    test = trainer.measure([row], "test")[row] if seat.tested else None
    try:
        ended = seat.ledger.finished(test, weights_digest(weights), WEIGHTS_FILE if seat.folder else None)
    except Diverged as diverged:
        return seat.ledger.diverged(diverged)
    if not (seat.tested and seat.folder and (examples := trainer.examples(row))):
        return ended
    save_tensors(examples, seat.folder / EXAMPLES_FILE)
    return replace(ended, examples_file=EXAMPLES_FILE)
