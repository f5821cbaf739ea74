"""A damaged journal: each changed, missing or doubled line is noticed, named and set aside, and all others are used."""

import json
import os
import random
import re
import resource
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from cnnlab.errors import LONGEST_LINE, shortened
from cnnlab.reading.trained import load_trained
from cnnlab.records import Record, RunEnded, Steps
from cnnlab.tracking import Deliverer, Journal, RunDir, journal, mark_dead, read
from tests.faults.table import repeats, tally
from tests.faults.trainee import config, new_run, outcome, train

Cli = Callable[..., Result]
SMALL = config(epochs=3)
NAMED = re.compile(r".*journal\.jsonl: (line \d+ is|\d+ lines are) damaged or missing.*")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A finished run, whose directory is not to be changed."""
    run = new_run(tmp_path_factory.mktemp("finished") / "mlruns/runs/run", SMALL)
    train(run, SMALL)
    return run


@pytest.fixture
def run(finished: RunDir) -> RunDir:
    """The same in the test's folder."""
    return RunDir(Path(shutil.copytree(finished.path, "mlruns/runs/run")).absolute())


def lines_of(run: RunDir) -> list[bytes]:
    return run.journal_file.read_bytes().splitlines(keepends=True)


def is_part(some: list[Record], whole: list[Record]) -> bool:
    """Whether they are records of the whole, unchanged and in its order."""
    rest = iter(whole)
    return all(any(record == other for other in rest) for record in some)


def is_noticed(run: RunDir, whole: list[Record], caplog: pytest.LogCaptureFixture) -> bool:
    """Whether one line names the damage, and what is read is true; then it is set aside and nothing more is named."""
    journal._warn_once.cache_clear()
    caplog.clear()
    damaged = run.journal_file.read_bytes()
    first = damaged.partition(b"\n")[0]
    if b'"line": 1,' not in first or not _is_line(first):
        with pytest.raises(journal.RunFailed, match="its first line, which says what the run is, is damaged, missing"):
            read(run.journal_file)
        return True
    known = read(run.journal_file)[0]
    read(run.journal_file)
    named = [bool(NAMED.fullmatch(record.getMessage())) for record in caplog.records]
    said = run.mend()
    (aside,) = run.path.glob("journal.damaged-*.jsonl")
    kept = aside.read_bytes() == damaged
    aside.unlink()
    caplog.clear()
    return (
        named == [True]
        and is_part(known, whole)
        and kept
        and said is not None
        and bool(NAMED.fullmatch(said))
        and read(run.journal_file)[0] == known
        and not caplog.records
    )


def _is_line(line: bytes) -> bool:
    """By what the docs say of a line, not by the code that reads it."""
    import zlib

    content, _, end = line.rpartition(b', "sum": ')
    return end == b'"%08x"}' % zlib.crc32(content)


def check(run: RunDir, damages: Iterator[bytes], fault: str, caplog: pytest.LogCaptureFixture) -> None:
    whole, tried, missed = read(run.journal_file)[0], 0, []
    for damaged in damages:
        run.journal_file.write_bytes(damaged)
        tried += 1
        if not is_noticed(run, whole, caplog):
            missed.append(damaged)
    tally(fault, tried=tried, held=tried - len(missed))
    assert not missed, missed[0]


def flipped(data: bytes, count: int) -> Iterator[bytes]:
    places = random.Random(3)
    for _ in range(count - 8):
        damaged = bytearray(data)
        damaged[places.randrange(len(data))] ^= 1 << places.randrange(8)
        yield bytes(damaged)
    for bit in range(8):  # of the last line's end, which makes it look like one that is being written
        yield data[:-1] + bytes([data[-1] ^ 1 << bit])


def test_a_flipped_bit_is_noticed(run: RunDir, caplog: pytest.LogCaptureFixture) -> None:
    check(run, flipped(run.journal_file.read_bytes(), 100), "a bit of the journal flipped", caplog)


@pytest.mark.slow
def test_every_flipped_bit_is_noticed(run: RunDir, caplog: pytest.LogCaptureFixture) -> None:
    check(run, flipped(run.journal_file.read_bytes(), repeats(1000)), "a bit of the journal flipped", caplog)


def test_a_changed_digit_is_noticed(run: RunDir, caplog: pytest.LogCaptureFixture) -> None:
    data, places = run.journal_file.read_bytes(), random.Random(4)
    digits = [place for place, byte in enumerate(data) if chr(byte).isdigit()]

    def changed() -> Iterator[bytes]:
        for place in places.sample(digits, 100):
            other = b"%d" % ((data[place] - ord("0") + places.randint(1, 9)) % 10)
            yield data[:place] + other + data[place + 1 :]

    check(run, changed(), "a digit of the journal changed", caplog)


def test_lines_that_are_missing_doubled_or_in_another_order_are_noticed(
    run: RunDir, caplog: pytest.LogCaptureFixture
) -> None:
    lines = lines_of(run)

    def damages() -> Iterator[bytes]:
        for at in range(len(lines) - 1):  # without its last line it is a journal of an earlier moment
            yield b"".join(lines[:at] + lines[at + 1 :])
        for at in range(len(lines)):
            yield b"".join([*lines[: at + 1], *lines[at:]])
        for at in range(len(lines) - 1):
            yield b"".join([*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]])
        for other in (b"", b"{}", b"garbage", b"\0" * 100, b'{"record": "from the future"}'):
            yield b"".join([*lines[:3], other, b"\n", *lines[3:]])

    check(run, damages(), "a line of the journal missing, doubled, moved or put in", caplog)


@pytest.mark.parametrize("every", [97, pytest.param(1, marks=pytest.mark.slow)])
def test_a_torn_tail_is_trimmed(every: int, run: RunDir, caplog: pytest.LogCaptureFixture) -> None:
    """Cut anywhere, the journal is that of an earlier moment, and the next record comes behind its last whole line."""
    whole, lines, data = read(run.journal_file)[0], lines_of(run), run.journal_file.read_bytes()
    ends = [sum(map(len, lines[: count + 1])) for count in range(len(lines))]
    cuts = [*range(0, len(data), every), *ends]
    wrong = []
    for size in cuts:
        run.journal_file.write_bytes(data[:size])
        left = sum(end <= size for end in ends)
        known = read(run.journal_file)[0]
        with Journal(run.journal_file) as torn:
            torn.write(whole[left] if left < len(whole) else whole[-1])
        after = run.journal_file.read_bytes()
        if known != whole[:left] or (left < len(whole) and after != data[: ends[left]]):
            wrong.append(size)
    tally("the journal cut anywhere", tried=len(cuts), held=len(cuts) - len(wrong))
    assert not wrong
    assert not caplog.records


# what a user sees


def damage(run: RunDir, kind: type[Record], at: int = 0) -> int:
    """Change a digit in the record of this kind; returns the number of its line."""
    lines = lines_of(run)
    index = [i for i, record in enumerate(read(run.journal_file)[0]) if isinstance(record, kind)][at]
    changed = re.sub(rb"\d", lambda digit: b"%d" % ((int(digit[0]) + 1) % 10), lines[index], count=1)
    run.journal_file.write_bytes(b"".join([*lines[:index], changed, *lines[index + 1 :]]))
    return index + 1


def test_each_command_names_a_damaged_line_once_and_sync_and_doctor_set_it_aside(
    run: RunDir, cli: Cli, caplog: pytest.LogCaptureFixture
) -> None:
    score = json.loads(cli("show", "last", "--json").stdout)["score"]
    number = damage(run, Steps)
    said = f"{run.journal_file}: line {number} is damaged or missing; all others are used"
    for command in (["runs"], ["show", "last", "--json"], ["show", "last"]):
        journal._warn_once.cache_clear()
        caplog.clear()
        assert cli(*command).exit_code == 0
        assert [record.getMessage() for record in caplog.records] == [said]  # a process has it on stderr
    assert json.loads(cli("show", "last", "--json").stdout)["score"] == score
    load_trained(run.path)
    done = cli("sync", "--tracking-uri", f"sqlite:///{Path.cwd()}/mlflow.db")
    aside = f"{said}, and the journal as it was is kept as journal.damaged-1.jsonl"
    assert (done.exit_code, done.stderr) == (1, f"cnnlab: {aside}\n")
    assert "complete in" in done.stdout
    again = cli("sync", "--tracking-uri", f"sqlite:///{Path.cwd()}/mlflow.db")
    assert (again.exit_code, again.stderr) == (0, "")
    with sqlite3.connect("mlflow.db") as database:
        rows = database.execute("SELECT step, value FROM metrics WHERE key = 'train/loss' ORDER BY step").fetchall()
    assert rows == outcome(run)["losses"]
    number = damage(run, Steps)
    found = cli("doctor", "--tracking-uri", f"sqlite:///{Path.cwd()}/mlflow.db")
    assert found.exit_code == 1
    assert f"line {number} is damaged or missing; all others are used, and the journal as it was is kept as " in (
        found.stdout
    )


def test_a_lost_first_line_is_one_line_in_each_command(run: RunDir, cli: Cli) -> None:
    lines = lines_of(run)
    run.journal_file.write_bytes(lines[0].replace(b"faults", b"foults") + b"".join(lines[1:]))
    before = run.journal_file.read_bytes()
    said = shortened(
        f"cnnlab: {run.journal_file}: its first line, which says what the run is, is damaged, missing or of another "
        f"version of cnnlab; make a new run: cnnlab train {run.config_file}",
        LONGEST_LINE,
    )
    for command in (["show", str(run.path)], ["train", "--resume", str(run.path)], ["sync", str(run.path)]):
        done = cli(*command)
        assert (done.exit_code, done.stdout, done.stderr) == (1, "", f"{said}\n")
    assert cli("runs").stderr == f"{said}\n"
    assert run.journal_file.read_bytes() == before


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("lost", [Steps, RunEnded])
def test_a_run_with_a_damaged_journal_goes_on_to_the_same_bits(
    lost: type[Record], finished: RunDir, run: RunDir, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a killed run whose journal was damaged all but that line is there once, in MLflow too."""
    lines, uri = lines_of(run), f"sqlite:///{Path.cwd()}/mlflow.db"
    if lost is not RunEnded:
        run.journal_file.write_bytes(b"".join(lines[:-1]))  # killed before its last word
    number = damage(run, lost)
    Deliverer(run, uri, lambda path: load_trained(path).model, lambda path, into: []).deliver()
    assert mark_dead(run)
    train(run, SMALL)
    Deliverer(run, uri, lambda path: load_trained(path).model, lambda path, into: []).deliver()
    ours, expected = outcome(run), outcome(finished)
    gone = json.loads(lines[number - 1]) if lost is Steps else {"first": 0, "losses": []}
    missing = range(gone["first"], gone["first"] + len(gone["losses"]))
    expected["losses"] = [(step, loss) for step, loss in expected["losses"] if step not in missing]
    with sqlite3.connect("mlflow.db") as database:
        rows = database.execute("SELECT step, value FROM metrics WHERE key = 'train/loss' ORDER BY step").fetchall()
        statuses = database.execute("SELECT status FROM runs").fetchall()
    held = ours == expected and rows == expected["losses"] and statuses == [("FINISHED",)]
    tally("a killed run with a damaged journal resumed and delivered", tried=1, held=held)
    assert held
    assert (run.path / "journal.damaged-1.jsonl").exists()


# writing


def test_a_line_is_on_disk_a_second_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: RunDir) -> None:
    synced: list[float] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(time.monotonic()), real(file)))
    record = read(run.journal_file)[0][0]
    with Journal(tmp_path / "new.jsonl") as new:
        new.write(record)
        begin = time.monotonic()
        while not synced and time.monotonic() < begin + 30:
            time.sleep(0.01)
        assert len(synced) == 1
        new.write(record)
    assert len(synced) == 2, "and at the end"


def test_what_could_not_be_synced_is_an_error_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: RunDir
) -> None:
    def fails(file: int) -> None:
        raise OSError(5, "Input/output error")

    record = read(run.journal_file)[0][0]
    real, new = os.fsync, Journal(tmp_path / "new.jsonl")
    new.write(record)
    monkeypatch.setattr(os, "fsync", fails)
    for act in (new.sync, lambda: new.write(record), lambda: new.__exit__(None, None, None)):
        with pytest.raises(OSError, match=r"Input/output error: .*new\.jsonl"):
            act()
        monkeypatch.setattr(os, "fsync", real)  # nothing is believed after it
    assert len(read(tmp_path / "new.jsonl")[0]) == 1


def test_a_line_that_has_no_room_leaves_no_half(tmp_path: Path, run: RunDir) -> None:
    path, record = tmp_path / "new.jsonl", read(run.journal_file)[0][0]
    with Journal(path) as new:
        new.write(record)
        size, limits = path.stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, limits[1]))
        try:
            with pytest.raises(OSError, match=r"File too large: .*new\.jsonl"):
                new.write(record)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert path.stat().st_size == size
        new.write(record)
    assert read(path)[0] == [record, record]


def test_the_docs_say_what_a_line_is(run: RunDir) -> None:
    lines: list[Any] = [json.loads(line) for line in lines_of(run)]
    assert [line["line"] for line in lines] == list(range(1, len(lines) + 1))
    assert all(_is_line(line.rstrip(b"\n")) for line in lines_of(run))
