"""The driver's interface takes what comes later: many rows side by side, and one row in several processes.

The trainers here are toys: row r's "network" is a number that each step adds the row's learning rate to.
"""

from collections.abc import Collection, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from cnnlab.records import CheckpointSealed, Epoch, Record, RunEnded, RunStarted, Steps
from cnnlab.training.driver import Seat, drive
from cnnlab.training.ledger import Ledger, Measured, Order, Position, Taken
from tests.runs import small_config
from tests.test_ledger import about

STEPS = 4


@pytest.fixture(autouse=True)
def _looks_at_the_end_of_an_epoch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is; processes that train together have to agree on when to look."""
    monkeypatch.setattr("cnnlab.training.driver.LOOK_SECONDS", float("inf"))


class Rows:
    """Numbers that are trained side by side, each by its own learning rate."""

    def __init__(self, rows: int) -> None:
        self.numbers = torch.zeros(rows, dtype=torch.float64)
        self.best = self.numbers.clone()
        self.pending: list[dict[int, Order]] = []
        self.steps_together = 0

    def begin_epoch(self, rows: Mapping[int, Position]) -> None:
        assert len({position.batch for position in rows.values()}) == 1, "all rows stand at the same batch"

    def step(self, orders: Mapping[int, Order]) -> None:
        for row, order in orders.items():
            self.numbers[row] += order.lr
        self.pending.append(dict(orders))
        self.steps_together += 1

    def collect(self) -> dict[int, Taken]:
        pending, self.pending = self.pending, []
        rows = {row: [orders[row] for orders in pending if row in orders] for row in pending[-1]}
        return {row: self.taken(row, len(orders)) for row, orders in rows.items()}

    def taken(self, row: int, count: int) -> Taken:
        bad = [bool(self.numbers[row] > 100)] * count
        return Taken([float(self.numbers[row])] * count, bad, [1] * count, [float(count)])

    def measure(self, rows: Collection[int], split: str) -> dict[int, Measured]:
        return {row: Measured({"loss": 1.0, "accuracy": float(self.numbers[row])}) for row in rows}

    def keep_best(self, row: int) -> None:
        self.best[row] = self.numbers[row]

    def best_weights(self, row: int) -> dict[str, Tensor]:
        return {"number": self.best[row]}

    def load_best(self, row: int) -> None:
        self.numbers[row] = self.best[row]

    def state(self, row: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {"number": self.numbers[row]}, {"optimizer": {}}


def seat(lr: float, epochs: int = 4) -> Seat:
    config = small_config(optimizer__lr=lr, training__epochs=epochs, schedule__name="constant")
    books = Ledger(config, about(config, steps=STEPS), lambda sums, samples: {"accuracy": sums[0] / samples})
    return Seat(books)


def of(row: int, said: list[tuple[int, Record]]) -> list[Record]:
    return [record for at, record in said if at == row]


def alone(lr: float, epochs: int = 4) -> list[Record]:
    return [record for _, record in drive(Rows(1), {0: seat(lr, epochs)})]


def same(ours: list[Record], expected: list[Record]) -> None:
    assert [type(record) for record in ours] == [type(record) for record in expected]
    for one, other in zip(ours, expected, strict=True):
        if isinstance(one, Epoch) and isinstance(other, Epoch):
            assert (one.epoch, one.step, one.val, one.best) == (other.epoch, other.step, other.val, other.best)
    assert isinstance(ours[-1], RunEnded)
    assert isinstance(expected[-1], RunEnded)
    assert (ours[-1].test, ours[-1].weights_sha256) == (expected[-1].test, expected[-1].weights_sha256)


def test_two_rows_say_each_what_it_would_say_alone() -> None:
    trainer = Rows(2)
    said = list(drive(trainer, {0: seat(0.01), 1: seat(0.02)}))
    same(of(0, said), alone(0.01))
    same(of(1, said), alone(0.02))
    assert trainer.steps_together == 4 * STEPS, "they take their steps together"


def test_a_row_that_is_pruned_half_way_leaves_its_seat_to_another() -> None:
    trainer, waiting = Rows(2), [seat(0.03)]

    def refill(row: int) -> Seat | None:
        if not waiting:
            return None
        trainer.numbers[row] = 0.0
        return waiting.pop()

    seats = {0: seat(0.01), 1: seat(0.02)}
    pruned = seats[1].ledger
    said = []
    for row, record in drive(trainer, seats, refill):
        said.append((row, record))
        if row == 1 and isinstance(record, Epoch) and record.epoch == 2 and not pruned.stopped:
            pruned.stop("pruned", "others were better")
    same(of(0, said), alone(0.01))
    first = of(1, said)
    cut = next(index for index, record in enumerate(first) if isinstance(record, RunEnded)) + 1
    ended = first[cut - 1]
    assert isinstance(ended, RunEnded)
    assert (ended.status, ended.epoch, ended.best) == ("pruned", 2, {"loss": 1.0, "accuracy": 0.16})
    same(first[cut:], alone(0.03))


def test_a_row_that_diverges_ends_and_the_others_go_on() -> None:
    said = list(drive(Rows(2), {0: seat(0.01), 1: seat(60.0)}))
    same(of(0, said), alone(0.01))
    last = of(1, said)[-1]
    assert isinstance(last, RunEnded)
    assert (last.status, last.diverged) == ("failed", True)


def test_closing_seals_every_row(tmp_path: Any) -> None:
    seats = {row: seat(0.01 * (row + 1)) for row in (0, 1)}
    for row, one in seats.items():
        one.folder = tmp_path / str(row)
    running = drive(Rows(2), seats)
    for row, record in running:
        if row == 0 and isinstance(record, CheckpointSealed) and record.epoch == 2:
            break
    running.close()
    for row in (0, 1):
        assert (tmp_path / str(row) / "checkpoints" / f"step-{2 * STEPS:08d}.json").exists()


class Rank(Rows):
    """One of several processes that train one network: each has a share of the batch, and sums are added over all."""

    def __init__(self, rank: int, ranks: int) -> None:
        super().__init__(1)
        self.rank = rank
        self.ranks = ranks
        self.others: list[Rank] = []

    def share(self) -> float:
        """What of a batch of 1 + 2 + ... samples this rank has right."""
        return float(self.rank + 1)

    def taken(self, row: int, count: int) -> Taken:
        everyone = [self, *self.others]
        own = super().taken(row, count)
        sizes = [sum(rank.rank + 1 for rank in everyone)] * count
        return Taken(own.losses, own.bad, sizes, [count * sum(rank.share() for rank in everyone)])


def test_two_ranks_whose_sums_are_added_keep_the_same_books() -> None:
    ranks = [Rank(0, 2), Rank(1, 2)]
    for rank in ranks:
        rank.others = [other for other in ranks if other is not rank]
    # in step, as processes that reduce their sums are
    both = [list(said) for said in zip(*(drive(rank, {0: seat(0.01)}) for rank in ranks), strict=True)]
    assert len(both) == 10
    for (_, one), (_, other) in both:
        assert type(one) is type(other)
        if isinstance(one, Epoch) and isinstance(other, Epoch):
            assert (one.train, one.val) == (other.train, other.val)
            assert one.train["accuracy"] == STEPS * 3 / 10, "of both ranks' samples"
        if isinstance(one, Steps) and isinstance(other, Steps):
            assert one.losses == other.losses
    (_, one), (_, other) = both[-1]
    assert isinstance(one, RunEnded)
    assert isinstance(other, RunEnded)
    assert one.weights_sha256 == other.weights_sha256


def test_the_first_word_of_each_row_is_that_it_started() -> None:
    said = [record for _, record in drive(Rows(2), {0: seat(0.01), 1: seat(0.02)})]
    assert all(isinstance(record, RunStarted) for record in said[:2])
