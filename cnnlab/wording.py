"""How values and lists are written for people."""

from collections.abc import Mapping, Sequence


def short(value: object) -> str:
    """A value in a few characters: numbers with three significant digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def settings_text(settings: Mapping[str, object]) -> str:
    """Settings (dotted path -> value) in a few words: `lr 0.1, momentum 0.9`."""
    return ", ".join(f"{path.rpartition('.')[2]} {short(value)}" for path, value in settings.items())


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
