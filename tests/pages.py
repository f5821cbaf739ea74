"""Whether a page can be read without a network."""

import re
from html.parser import HTMLParser
from pathlib import Path


class Elements(HTMLParser):
    """The names of a page's elements, and the addresses that a browser would load."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.loaded: list[str] = []
        self.text = page.read_text(encoding="utf-8")
        self.feed(self.text)
        self.loaded += re.findall(r"@import[^;]*|url\([^)]*\)", self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loaded += [str(value) for key, value in attrs if key in ("src", "href", "srcset", "data", "action")]


def check_page(page: Path) -> Elements:
    """Fails if the page loads something, runs something, or has only one look."""
    elements = Elements(page)
    assert not [address[:80] for address in elements.loaded if not address.startswith("data:image/png;base64,")]
    assert elements.tags.isdisjoint({"script", "b", "link", "iframe"})
    assert "color-scheme:light dark" in elements.text
    assert 'name="viewport"' in elements.text
    return elements
