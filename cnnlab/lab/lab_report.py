"""The lab's page: a table of the claims, and a section with a figure for each. Only measured verdicts are written."""

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from PIL import Image

from cnnlab.errors import BadInput
from cnnlab.lab.claim import Claim
from cnnlab.lab.laboratory import FIGURE_FILE, as_json, finding_of, folder_of, judgement_of
from cnnlab.reading.several import differing
from cnnlab.result import settings_text, strict_json

HEAD = """# The lab: the course page's claims, tested

`cnnlab lab` lists these claims, and `cnnlab lab run NAME ... --quick` tests some of them again. Each claim is a file in
[experiments/claims](../experiments/claims/README.md): arms, what is measured, and what is expected. The arms are
trained on the same seeds. A part holds if the interval of its difference, paired over seeds, excludes 0 on the expected
side. The intervals of a claim's parts hold together (95 %, by the rules of [cnnlab compare](compare.md)). *Undecided
here* means that these seeds and this data do not show it. In the figures a dot is one seed and a bar is the mean of
the seeds; the curves are of the first seed. `cnnlab lab report docs` writes this page.
"""


def in_words(claim: Claim) -> str:
    """A claim with its verdict, and a line for each of its parts."""
    judgement = judgement_of(claim)
    assert judgement is not None
    return "\n".join([f"{claim.name}: {judgement.word}", *(f"  {part}" for part in judgement.parts)])


def write_report(claims: Sequence[tuple[Claim, Claim]], folder: Path) -> Path:
    """Write lab.md, its numbers as lab.json, and images/lab-NAME.png into the folder; returns the path of lab.md.

    Args:
        claims: each claim in its quick form and in its full one, which gets the section if it has been run.

    Raises:
        BadInput: none has been run here.
    """
    words = [[judgement.word if (judgement := judgement_of(form)) else "" for form in forms] for forms in claims]
    if not any(map(any, words)):
        raise BadInput("no claim has been run here; cnnlab lab run all --quick runs them")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = [
        f"| [{quick.claim}](#{quick.name}) | {' | '.join(both)} |"
        for (quick, _), both in zip(claims, words, strict=True)
    ]
    times = []
    for form, claimed in zip(("quick", "full"), zip(*claims, strict=True), strict=True):
        if done := [finding for claim in claimed if (finding := finding_of(claim))]:
            minutes, load = sum(each.seconds for each in done) / 60, median(each.load for each in done)
            times.append(f"{len(done)} {form} forms took {minutes:.1f} minutes at a median load average of {load:.1f}")
    total = f"On {os.cpu_count()} cores, {'; '.join(times)}.\n" if times else ""
    shown = [forms[bool(both[1])] for forms, both in zip(claims, words, strict=True) if any(both)]
    sections = [_section(claim, folder) for claim in shown]
    (folder / "lab.json").write_text(strict_json([as_json(claim) for claim in shown], indent=1), "utf-8")
    path = folder / "lab.md"
    path.write_text(
        "\n".join([HEAD, "| claim | quick | full |", "|---|---|---|", *rows, "", total, *sections]), "utf-8"
    )
    return path


def _section(claim: Claim, folder: Path) -> str:
    judgement, image = judgement_of(claim), f"images/lab-{claim.name}.png"
    assert judgement is not None
    with Image.open(folder_of(claim) / FIGURE_FILE) as figure:
        figure.quantize(64).save(folder / image, optimize=True)  # a third of the bytes; still transparent
    seeds = "" if claim.exact else f" ({claim.seeds} seeds)"
    configs = [config.model_dump(mode="json") for config in claim.arms.values()]
    arms = [f"`{arm}`: {settings_text(own)}" for arm, own in zip(claim.arms, differing(configs), strict=True)]
    data = next(iter(claim.arms.values())).data
    each = f"; each with {claim.over[0]} {', '.join(map(str, claim.over[1]))}" if claim.over else ""
    samples = f"{data.train_size:,} samples of {data.dataset}" if data.train_size else data.dataset
    note = f"\n{claim.note}\n" if claim.note and not judgement.word.startswith("holds") else ""
    parts = "\n".join(f"- {part}" for part in judgement.parts)
    return f"""## {claim.name}

{claim.claim} (Course page, "{claim.section}")

Arms on {samples}: {"; ".join(arms)}{each}.

**{judgement.word.capitalize()}**{seeds}: `cnnlab lab run {claim.name}{" --quick" * claim.quick}`

{parts}
{note}
![{claim.name}: the arms' curves and values]({image})
"""
