"""A report as one HTML page that needs no network."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment
from markupsafe import Markup

TEMPLATE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<style>body{font-family:sans-serif;margin:2em}td,th{padding:.2em .8em;text-align:left}img{max-width:100%}</style></head>
<body><h1>{{ title }}</h1>
{% if lead %}
<p><strong>{{ lead }}</strong></p>
{% endif %}
{% for table in tables %}
<table><tr>{% for column in table.columns %}<th>{{ column }}</th>{% endfor %}</tr>
{% for row in table.rows %}
<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</table>
{% if table.note %}
<p>{{ table.note }}</p>
{% endif %}
{% endfor %}
{% if notes %}
<ul>{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ul>
{% endif %}
{% for heading, figure in figures %}
<h2>{{ heading }}</h2>
{{ figure }}
{% endfor %}
</body></html>
""")


class Table(NamedTuple):
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def page(
    title: str,
    *,
    lead: str = "",
    tables: Sequence[Table] = (),
    notes: Sequence[str] = (),
    figures: Sequence[tuple[str, Markup]] = (),
) -> str:
    """The page as HTML. All text is escaped; a figure is a heading and HTML."""
    return TEMPLATE.render(title=title, lead=lead, tables=tables, notes=notes, figures=figures) + "\n"


def picture(png: Path, heading: str) -> tuple[str, Markup]:
    """A PNG file as a figure of a page."""
    code = base64.b64encode(png.read_bytes()).decode()
    return heading, Markup('<img alt="{}" src="data:image/png;base64,{}">').format(heading, code)
