"""A run's directory: its files, its lock, and how it is found by the word that a user types."""

import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cnnlab.errors import BadInput, CnnlabError, Interrupted, InUse, RunFailed, shortened
from cnnlab.files import naming, remove_abandoned
from cnnlab.process import last_words, lives, this_process
from cnnlab.records import Ended, RunCreated, Status
from cnnlab.tracking.journal import Journal, first, mend, read

MLRUNS = Path("mlruns")
"""The folder of all runs and sweeps, below the current folder."""
LISTED = (("data", "dataset", str), ("model", "name", str), ("optimizer", "name", str), ("training", "seed", int))
"""The settings without which no run can be listed: section, key, type."""
BEAT_SECONDS = 15.0
"""How often the holder of a run touches its lease, for machines that do not see its lock."""
SILENCE_SECONDS = 60.0
"""The age at which the lease of another machine no longer counts."""
LEASE = "lease.json"
"""Names the process that holds a run; a process that died leaves it behind."""


def new_run_id(label: str, now: datetime) -> str:
    """As 20261123-124501-digits-cnn-3f2a9c01d4. Of 1,000 in one second, two are equal with a probability of 5e-7."""
    return f"{now:%Y%m%d-%H%M%S}-{as_word(label).strip('-')[:40] or 'run'}-{secrets.token_hex(5)}"


def as_word(label: str) -> str:
    """The label in characters that need no quotes in a path or a shell."""
    return "".join(c if c.isalnum() else "-" for c in label.lower())


def runs_root() -> Path:
    """The folder of the runs."""
    return MLRUNS / "runs"


def studies_root() -> Path:
    """The folder of the sweeps; each has a folder of its name, with its trials below."""
    return MLRUNS / "studies"


def make_mlruns() -> None:
    """Create mlruns/ with a .gitignore that keeps it out of git. Raises BadInput if it cannot be created."""
    ignore = MLRUNS / ".gitignore"
    try:
        MLRUNS.mkdir(exist_ok=True)
        if not ignore.exists():
            ignore.write_text("*\n!.gitignore\n")
    except OSError as error:
        raise BadInput(f"{ignore.absolute()}: cannot be written ({error.strerror}); work in another folder") from None


class RunDir:
    """The directory of one run, with the paths of its files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.yaml"
        self.journal_file = path / "journal.jsonl"
        self.checkpoints = path / "checkpoints"
        self.delivery_file = path / "delivery.json"
        self.courier_log = path / "courier.log"
        self._lock_file = path / "lock"
        self._lease_file = path / LEASE

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunDir) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    @classmethod
    @contextmanager
    def create(cls, path: Path) -> Iterator["RunDir"]:
        """A new directory, held while its first files are written: only one process can create a run in it.

        Raises:
            BadInput: it cannot be created, or has a run already.
            InUse: a live process holds it.
        """
        run = cls(path.absolute())
        mine = True  # else its files are not removed
        try:
            run.path.mkdir(parents=True)
        except OSError as error:
            mine = False
            if not os.path.isdir(run.path):
                raise BadInput(f"--run-dir {path}: cannot be made ({error.strerror})") from None
        try:
            with run.hold():
                if run.is_created():
                    mine = False
                    raise BadInput(
                        f"--run-dir {path}: it holds a run already; go on with it by --resume {path}, or name another"
                    )
                yield run
        except (OSError, CnnlabError) as error:
            if mine and not isinstance(error, InUse):
                shutil.rmtree(run.path, ignore_errors=True)
            raise

    def is_created(self) -> bool:
        """Whether its journal has a first line; a process killed while it created the run may have left less."""
        try:
            with open(self.journal_file, "rb") as file:
                return file.readline().endswith(b"\n")
        except FileNotFoundError:
            return False

    @cached_property
    def created(self) -> RunCreated:
        """The journal's first line. Raises RunFailed if it is lost, or is no record of a run."""
        created = first(self.journal_file)
        if not isinstance(created, RunCreated):
            raise RunFailed(f"{self.journal_file}: the journal does not begin with a run")
        for section, key, kind in LISTED:
            values = created.config.get(section)
            if not (isinstance(values, dict) and isinstance(values.get(key), kind)):
                raise RunFailed(f"{self.journal_file}: the config in the journal's first line has no {section}.{key}")
        return created

    @property
    def run_id(self) -> str:
        return self.created.run_id

    @property
    def word(self) -> str:
        """The word by which `find_run` finds it from here: its id if it is in mlruns/, else its directory."""
        is_here = self.path.parent == runs_root().absolute() or self.path.is_relative_to(studies_root().absolute())
        return self.run_id if is_here else str(self.path)

    # the lock

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Within it this is the live process of the run. The system frees the lock when the process ends.

        Raises:
            InUse: another process holds the run.
            RunFailed: the file system has no locks that work.
        """
        lock = FileLock(self._lock_file, timeout=1)  # another process's `is_held` may hold it for a moment
        try:
            lock.acquire()
        except Timeout:
            raise self._in_use() from None
        except (OSError, NotImplementedError) as error:
            raise self._no_locks(str(error)) from None
        try:
            if not self.is_held():
                raise self._no_locks("two processes get one lock")
            if self._is_held_elsewhere():
                raise self._in_use()
            with self._lease():
                yield
        finally:
            lock.release()

    def is_held(self) -> bool:
        """Whether a live process, paused or not, has this run."""
        if not self._lock_file.exists():
            return False
        try:
            with FileLock(self._lock_file, timeout=0):
                return self._is_held_elsewhere()
        except Timeout:
            return True

    def holder(self) -> str:
        """The process that holds it, as a message names it."""
        lease = self._read_lease()
        return f"pid {lease['pid']} on {lease['host']}" if lease else "pid unknown"

    @contextmanager
    def _lease(self) -> Iterator[None]:
        """Within it, the lease names this process. If the process is ended at once, `last_words` end the run."""
        stop, word = threading.Event(), partial(self.end, "interrupted", "was interrupted twice")
        with naming(self._lease_file):
            self._lease_file.write_text(json.dumps(this_process()))
        threading.Thread(target=self._beat, args=(stop,), daemon=True).start()
        last_words.append(word)
        try:
            yield
        finally:
            last_words.remove(word)
            stop.set()
            self._lease_file.unlink(missing_ok=True)

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(BEAT_SECONDS):
            with suppress(OSError):
                os.utime(self._lease_file)

    def _read_lease(self) -> dict[str, Any]:
        try:
            lease = json.loads(self._lease_file.read_bytes())
            return lease if {"host", "pid"} <= lease.keys() else {}
        except (OSError, ValueError, AttributeError):
            return {}

    def _is_held_elsewhere(self) -> bool:
        """Whether another machine, whose locks may not be seen here, has touched its lease lately."""
        lease = self._read_lease()
        if not lease or lives(lease) is not None:
            return False
        with suppress(OSError):
            os.utime(self._lock_file)  # this process holds it; the file system's clock sets both times
            return os.stat(self._lock_file).st_mtime - os.stat(self._lease_file).st_mtime < SILENCE_SECONDS
        return False

    def _in_use(self) -> InUse:
        return InUse(f"{self.path}: a live process ({self.holder()}) has this run")

    def _no_locks(self, reason: str) -> RunFailed:
        return RunFailed(
            f"{self._lock_file}: the file system has no locks that work ({reason}), so two processes could train one "
            "run; put runs on another one by --run-dir"
        )

    # its end

    def end(self, status: Status = "died", what: str = "died", *, reason: str | None = None) -> bool:
        """Write the last record, while holding the run; False if the journal has one.

        Args:
            what: the verb after "its process".
            reason: replaces the sentence about its process.
        """
        records, _ = read(self.journal_file)
        if not records or isinstance(records[-1], Ended):
            return False
        at = os.stat(self.journal_file).st_mtime if status == "died" else time.time()
        deaths = (record.death(records, at, self.word) for record in reversed(records))
        ended = next(death for death in deaths if death)  # the first record of a journal has one
        with Journal(self.journal_file) as journal:
            reason = reason or ended.reason.replace("died", what, 1)
            journal.write(replace(ended, status=status, reason=reason))
        return True

    def end_by(self, error: BaseException) -> None:
        """`end` after a signal or an error ended the work of this process."""
        by_signal = isinstance(error, Interrupted | KeyboardInterrupt)
        self.end(*(("interrupted", "was interrupted") if by_signal else ("failed", f"failed ({error})")))

    def mend(self) -> str | None:
        """`mend` the journal, unless a live process has the run."""
        try:
            with self.hold():
                return mend(self.journal_file)
        except InUse:
            return None


def mark_dead(run: RunDir) -> bool:
    """Write the last record of a run whose process died without one. Returns whether this was such a run.

    A run is left alone if a process holds it: one that lives, is paused, or is just resuming the run.
    """
    try:
        with run.hold():
            if ended := run.end():
                for folder in (run.path, run.checkpoints):  # the temporary files of a process killed while writing
                    remove_abandoned(folder)
            return ended
    except InUse:
        return False


def end_dead() -> list[RunDir]:
    """`mark_dead` for all runs in mlruns/ that have a lease, which are few; returns those that were dead."""
    ended = []
    for lease in [*runs_root().rglob(LEASE), *studies_root().rglob(LEASE)]:
        with suppress(CnnlabError, OSError):  # its journal cannot be read; `cnnlab doctor` names it
            if mark_dead(run := RunDir(lease.parent.absolute())):
                ended.append(run)
    return ended


def list_runs() -> list[RunDir]:
    """The runs in mlruns/, oldest first."""
    return _runs_of(runs_root().glob("*/journal.jsonl"))


def list_studies() -> list[RunDir]:
    """The sweeps in mlruns/, by name."""
    return _runs_of(studies_root().glob("*/journal.jsonl"))


def study_dir(word: str) -> RunDir | None:
    """The run of the sweep or comparison of this name; None if there is none."""
    folder = studies_root() / word
    is_name = word and word == os.path.basename(word)  # a path may be absolute, and then lead out of the studies
    # Path.exists would fail for a long name
    return RunDir(folder) if is_name and os.path.exists(folder / "journal.jsonl") else None


def list_trials() -> list[RunDir]:
    """The runs of the sweeps' trials, sweep by sweep."""
    return _runs_of(studies_root().glob("*/*/**/journal.jsonl"))


def _runs_of(journals: Iterable[Path]) -> list[RunDir]:
    return [RunDir(path.parent.absolute()) for path in sorted(journals)]


def find_run(word: str) -> RunDir:
    """The run with an id, an unambiguous beginning of one, `last`, or a directory. Raises BadInput if it is not one."""
    if not word:
        raise BadInput("RUN is empty; give a run id, a beginning of one, last, or a run's directory")
    if word != "last" and os.path.exists(Path(word) / "journal.jsonl"):
        return RunDir(Path(word).absolute())
    runs = [run for run in list_runs() if run.path.name == word or _is_readable(run)]
    if word == "last":
        if not runs:
            raise BadInput("last: there are no runs in mlruns/runs yet; cnnlab train makes one")
        return max(runs, key=lambda run: run.created.time)
    runs += [run for run in list_trials() if _is_readable(run)]
    exact = [run for run in runs if run.path.name == word] or [run for run in runs if run.run_id == word]
    matching = exact or [run for run in runs if run.run_id.startswith(word)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        names = ", ".join(run.run_id for run in matching[:3]) + (", ..." if len(matching) > 3 else "")
        raise BadInput(f"{shortened(word)}: {len(matching)} runs begin so: {names}; type more")
    raise BadInput(
        f"{shortened(word)}: no run begins so, and it is no run's directory; cnnlab runs lists what there is"
    )


def _is_readable(run: RunDir) -> bool:
    with suppress(RunFailed):
        return bool(run.created)
    return False
