"""Whatever is typed or written into an experiment: a result, or one line that says what is wrong and what to do."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnnlab.config.messages import settings as all_settings
from cnnlab.config.run_config import FLAGS
from cnnlab.errors import LONGEST_LINE
from tests.faults.table import repeats, tally

Cli = Callable[..., Result]

SETTINGS = all_settings()
NAMES = [f"--{flag.replace('_', '-')}" for flag in FLAGS]
ODD = ["", " ", "null", "~", "[]", "{}", "-", "--", "=", "a=b", "nan", "1e999", "-1", "0x10", "/dev/zero", "sqlite:///"]
ODD += ["\x1b[31m", "\u202e", "\x00", "http://u:hush@h", "x" * 5000, "9" * 5000, "[" * 400, "x y " * 500, "../" * 200]
KNOWN = ["adam", "sgd", "cnn", "Resnet18", "digits", "folder", "cosine", "full", "auto", "cpu", "torchvision/x"]
WORDS = st.one_of(
    st.sampled_from(ODD),
    st.text(max_size=40).filter(lambda text: "\x00" not in text or len(text) > 3),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(KNOWN),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=6,
)
SECTIONS = sorted({path.partition(".")[0] for path in SETTINGS} | {"search", "compare", "nonsense"})
EXPERIMENTS = st.one_of(
    st.dictionaries(st.sampled_from(SECTIONS), VALUES, max_size=3),
    st.lists(st.tuples(st.sampled_from(SETTINGS), VALUES), max_size=4),
    st.text(max_size=200),
    st.binary(max_size=200),
)
FLAG_WORDS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(NAMES), WORDS),
        st.tuples(st.just("-s"), st.builds("{}={}".format, st.one_of(st.sampled_from(SETTINGS), WORDS), WORDS)),
        st.tuples(st.sampled_from(["--tracking-uri", "--experiment-name", "--run-dir"]), WORDS),
        st.tuples(st.sampled_from(["--nonsense", "-x", "--learning-rate", "--lr", "--json", "-q"])),
    ),
    max_size=4,
)


def as_file(experiment: Any) -> bytes:
    """The bytes of an experiment: settings as YAML, or whatever stands in place of them."""
    if isinstance(experiment, bytes):
        return experiment
    if isinstance(experiment, str):
        return experiment.encode("utf-8", "surrogatepass")
    nested: dict[str, Any] = experiment if isinstance(experiment, dict) else {}
    for path, value in experiment if isinstance(experiment, list) else []:
        section, _, key = path.partition(".")
        if key and isinstance(nested.setdefault(section, {}), dict):
            nested[section][key] = value
        else:
            nested[section] = value
    return yaml.safe_dump(nested, allow_unicode=True).encode("utf-8", "surrogatepass")


def fault_of(done: Result) -> str | None:
    """What is wrong with how a command ended; None if nothing is."""
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        return f"a traceback: {type(done.exception).__name__}: {done.exception}"
    if done.exit_code not in (0, 2):
        return f"exit code {done.exit_code}: {done.stderr}"
    lines = done.stderr.splitlines()
    if done.exit_code == 2 and len(lines) != 1:
        return f"{len(lines)} lines: {done.stderr}"
    if long := [line for line in lines if len(line) > LONGEST_LINE]:
        return f"a line of {len(long[0])} characters: {long[0]}"
    if odd := re.search(r"[^\n\x20-\x7e\xa1-\U0010ffff]|\u202e", done.stderr):
        return f"{odd[0]!r} on the terminal: {done.stderr!r}"
    return "a password" if "hush" in done.stderr else None


def fuzz(cli: Cli, count: int, experiments: list[str], commands: list[str]) -> None:
    """Run so many commands of each of three kinds.

    Args:
        experiments: commands that read an experiment and print what they would do.
        commands: those that take a word.
    """
    tried, faults = 0, []

    def check(*words: str) -> None:
        nonlocal tried
        tried += 1
        words = tuple(word.replace("\x00", "") for word in words)  # which no system passes on
        if fault := fault_of(cli(*words)):
            faults.append((words, fault))

    bounds = settings(
        max_examples=count, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )

    @bounds
    @given(FLAG_WORDS)
    def flags(given_flags: list[tuple[str, ...]]) -> None:
        check("train", "--dry-run", *(word for words in given_flags for word in words))

    @bounds
    @given(EXPERIMENTS, st.sampled_from(experiments))
    def files(experiment: Any, command: str) -> None:
        Path("experiment.yaml").write_bytes(as_file(experiment))
        check(*command.split(), "experiment.yaml", "--dry-run")

    @bounds
    @given(WORDS, st.sampled_from(commands))
    def words(word: str, command: str) -> None:
        check(*command.split(), word)

    flags()
    files()
    words()
    tally("commands and experiments made at random", tried=tried, held=tried - len(faults))
    assert not faults, f"{len(faults)} of {tried}: " + "\n".join(map(str, faults[:5]))


def test_a_random_command_is_a_result_or_one_line(cli: Cli) -> None:
    fuzz(cli, 40, ["train"], ["show", "sync", "runs", "train --resume", "nonsense"])


@pytest.mark.slow
def test_many_random_commands_are_a_result_or_one_line(cli: Cli) -> None:
    experiments = ["train", "train", "sweep --only --search lr=0.1:1", "sweep", "compare --optimizers sgd,adam"]
    commands = ["show", "sync", "runs", "studies --storage", "train --resume", "sweep --dry-run --search"]
    fuzz(cli, repeats(2000) // 3 + 1, experiments, [*commands, "sweep --dry-run --study"])
