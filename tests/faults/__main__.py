"""Stage the faults and print what held:   uv run python -m tests.faults [--all] [arguments of pytest]

Without --all the quick part, which CI runs too; without a file all of them.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import pytest

from tests.faults.table import FILE


def main() -> int:
    arguments = sys.argv[1:]
    if everything := "--all" in arguments:
        arguments.remove("--all")
    marks = ["-m", "", "-n", "0"] if everything else ["-m", "not slow"]
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "table.jsonl")
        os.environ[FILE] = str(table)
        given = any(Path(word.partition("::")[0]).exists() for word in arguments)
        files = [] if given else [str(Path(__file__).parent)]
        code = pytest.main([*files, "-q", *marks, *arguments])
        rows = [json.loads(line) for line in table.read_text().splitlines()] if table.exists() else []
    total: dict[str, list[int]] = {}
    notes: dict[str, list[str]] = {}
    for row in rows:
        counts = total.setdefault(row["fault"], [0, 0])
        counts[0] += row["tried"]
        counts[1] += row["held"]
        notes.setdefault(row["fault"], []).extend([row["note"]] if row["note"] else [])
    print("\n| fault | tried | held | |\n|---|---|---|---|")
    for fault, (tried, held) in total.items():
        print(f"| {fault} | {tried:,} | {held:,} | {'; '.join(notes[fault])} |")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
