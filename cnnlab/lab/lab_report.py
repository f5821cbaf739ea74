"""The lab's page: a table of the claims, and a section with a figure for each. Only measured verdicts are written."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnnlab.errors import BadInput
from cnnlab.lab.claim import Claim
from cnnlab.lab.laboratory import FIGURE_FILE, as_json, folder_of
from cnnlab.result import short

HEAD = """# The lab: the course page's claims, tested

`cnnlab lab` lists these claims, and `cnnlab lab run NAME ... --quick` tests some of them again. Each claim is a file in
[experiments/claims](../experiments/claims/README.md): arms, what is measured, and what is expected. The arms are
trained on the same seeds. A part holds if the interval of its difference, paired over seeds, excludes 0 on the expected
side. The intervals of a claim's parts hold together (95 %, by the rules of [cnnlab compare](compare.md)). *Undecided
here* means that these seeds and this data do not show it. `cnnlab lab report docs` writes this page.
"""


def in_words(claim: Mapping[str, Any]) -> str:
    """A claim with its verdict, and a line for each of its parts.

    Args:
        claim: as `as_json` returns it.
    """
    return "\n".join([f"{claim['name']}: {claim['verdict']}", *(f"  {_part(part)}" for part in claim["parts"])])


def _part(part: Mapping[str, Any]) -> str:
    text = f"{part['measure']}: {part['relation']}"
    if part["left"] is None or part["right"] is None:
        return f"{text}: no value ({part['word']})"
    text += f": {short(part['left'])} and {short(part['right'])}"
    if part["ci_low"] is not None:
        text += f", difference {part['difference']:+.3g} ({part['ci_low']:+.3g} to {part['ci_high']:+.3g})"
    return f"{text}: {part['word']}"


def write_report(claims: Sequence[Sequence[Claim]], folder: Path) -> Path:
    """Write lab.md and images/lab-NAME.png into the folder; returns the path of lab.md.

    Args:
        claims: each claim in its forms; of those that have been run the last one gets a section.

    Raises:
        BadInput: none has been run here.
    """
    known = [[form for form in forms if as_json(form)["verdict"]] for forms in claims]
    if not any(known):
        raise BadInput("no claim has been run here; cnnlab lab run all --quick runs them")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = ["| claim | quick | full |", "|---|---|---|"]
    sections = []
    for forms, run in zip(claims, known, strict=True):
        words = [as_json(form)["verdict"] or "" for form in sorted(forms, key=lambda form: not form.quick)]
        rows.append(f"| [{forms[0].claim}](#{forms[0].name}) | {' | '.join(words)} |")
        if run:
            sections.append(_section(run[-1], folder))
    path = folder / "lab.md"
    path.write_text("\n".join([HEAD, *rows, "", *sections]), encoding="utf-8")
    return path


def _section(claim: Claim, folder: Path) -> str:
    found = as_json(claim)
    image = f"images/lab-{claim.name}.png"
    shutil.copy(folder_of(claim) / FIGURE_FILE, folder / image)
    how = "by arithmetic" if found["verdict"] == "holds by arithmetic" else f"{claim.seeds} seeds"
    quick = " --quick" * claim.quick
    note = f"\n{claim.note}\n" if claim.note and not found["verdict"].startswith("holds") else ""
    parts = "\n".join(f"- {_part(part)}" for part in found["parts"])
    return f"""## {claim.name}

{claim.claim} (Course page, "{claim.section}")

**{found["verdict"].capitalize()}** ({how}): `cnnlab lab run {claim.name}{quick}`

{parts}
{note}
![{claim.name}: the arms' curves and values]({image})
"""
