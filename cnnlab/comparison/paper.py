"""A comparison as a part of a paper: the methods paragraph and the tables, as Markdown and as LaTeX."""

from collections.abc import Sequence
from pathlib import Path

from cnnlab import __version__
from cnnlab.comparison.contests import Contest
from cnnlab.comparison.report import arm_table, markdown_table, note_on_pairs, pair_columns, pair_rows
from cnnlab.comparison.statistics import LOOKS, error_rate
from cnnlab.comparison.verdicts import Verdicts, sentence
from cnnlab.intervals import ALPHA
from cnnlab.result import listed

LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
"""Character -> LaTeX that prints it in text."""


def write_paper(verdicts: Verdicts, contest: Contest, folder: Path) -> list[Path]:
    """Write paper.md and paper.tex into an existing folder; returns their paths."""
    paragraph = methods(verdicts, contest)
    tables: list[tuple[str, Sequence[str], list[list[str]]]] = [(_caption(verdicts), *arm_table(verdicts))]
    if verdicts.pairs:
        tables.append((_sentence(note_on_pairs(verdicts)), pair_columns(verdicts), pair_rows(verdicts)))
    texts = {
        "paper.md": "\n\n".join(
            [paragraph, *("\n".join([caption, "", *markdown_table(head, rows)]) for caption, head, rows in tables)]
        ),
        "paper.tex": "\n\n".join(
            [
                r"% needs \usepackage{booktabs,graphicx}",
                escaped(paragraph),
                *(latex_table(caption, head, rows) for caption, head, rows in tables),
            ]
        ),
    }
    for name, text in texts.items():
        (folder / name).write_text(f"{text}\n", encoding="utf-8")
    return [folder / name for name in texts]


def methods(verdicts: Verdicts, contest: Contest) -> str:
    """One paragraph: what was tuned, how often, on what, by which tests, with which caveats and warnings."""
    config, score = contest.config, verdicts.score
    count = config.training.epochs
    epochs = f"{count} epoch{'s' * (count != 1)}"
    what = "optimizers" if verdicts.question == "optimizer" else f"values of {verdicts.question}"
    sentences = [
        f"With cnnlab {__version__} we compared the {what} {listed(list(contest.plans))} on the dataset "
        f"{config.data.dataset}, with the network {config.model.name} and {epochs} per training",
        *verdicts.caveats,
        f"Each pair was compared over {verdicts.unit_words} by the interval of Student's t for paired differences, "
        f"with Bonferroni's correction over {len(verdicts.pairs)} pair{'s' * (len(verdicts.pairs) != 1)}",
        f"The error rate of all pairs is {100 * error_rate(verdicts.look):.1f} % at this look, look {verdicts.look}, "
        f"and {100 * ALPHA:.0f} % over {LOOKS} looks",
        f"Arms are equal if the interval lies within {score.table(verdicts.margin)} {score.points} of no difference, "
        "different if it excludes no difference, and otherwise undecided",
        f"Result: {sentence(verdicts)}",
        *(f"Warning: {warning}" for warning in verdicts.warnings),
    ]
    return " ".join(map(_sentence, sentences))


def latex_table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of a paper, no wider than its text."""
    # {}: else LaTeX takes a cell that begins with [ or * for an argument of the line break before it
    lines = ["{}" + " & ".join(map(escaped, row)) + r" \\" for row in (columns, *rows)]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{escaped(caption)}}}",
            rf"\resizebox{{\linewidth}}{{!}}{{\begin{{tabular}}{{{'l' * len(columns)}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
        ]
    )


def escaped(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(LATEX.get(character, character) for character in text)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _caption(verdicts: Verdicts) -> str:
    score = verdicts.score
    return f"Test {score.words}{score.in_tables}: mean ± standard deviation over {verdicts.unit_words}."
