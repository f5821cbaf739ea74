"""A report as one HTML page that needs no network."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment
from markupsafe import Markup

TEMPLATE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""\
{% macro show(table) %}
{% if table.heading %}
<h2>{{ table.heading }}</h2>
{% endif %}
<div><table>{% if table.columns %}<tr>{% for column in table.columns %}<th>{{ column }}</th>{% endfor %}</tr>{% endif %}

{% for row in table.rows %}
<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</table></div>
{% if table.note %}
<p>{{ table.note }}</p>
{% endif %}
{% endmacro %}
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ title }}</title>
<style>
:root{color-scheme:light dark;background:light-dark(#fff,#000)}
body{font:1rem/1.5 system-ui,sans-serif;max-width:70rem;margin:0 auto;padding:1rem;overflow-wrap:anywhere}
div{overflow-x:auto}
table{border-collapse:collapse;margin:.5rem 0;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .8rem;text-align:left;white-space:nowrap;border-bottom:1px solid #8886}
img{max-width:100%}
@media(max-width:40rem){img{max-width:none;width:40rem}}
</style></head>
<body><h1>{{ title }}</h1>
{% if lead %}
<p><strong>{{ lead }}</strong></p>
{% endif %}
{% for table in tables %}{{ show(table) }}{% endfor %}
{% if notes %}
<ul>{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ul>
{% endif %}
{% for heading, figure in figures %}
<h2>{{ heading }}</h2>
<div>{{ figure }}</div>
{% endfor %}
{% for table in details %}{{ show(table) }}{% endfor %}
</body></html>
""")


class Table(NamedTuple):
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    heading: str = ""


def page(
    title: str,
    *,
    lead: str = "",
    tables: Sequence[Table] = (),
    notes: Sequence[str] = (),
    figures: Sequence[tuple[str, Markup]] = (),
    details: Sequence[Table] = (),
) -> str:
    """The page as HTML. All text is escaped; a figure is a heading and HTML; `details` are below the figures."""
    return TEMPLATE.render(title=title, lead=lead, tables=tables, notes=notes, figures=figures, details=details) + "\n"


def picture(png: Path, heading: str) -> tuple[str, Markup]:
    """A PNG file as a figure of a page."""
    code = base64.b64encode(png.read_bytes()).decode()
    return heading, Markup('<img alt="{}" src="data:image/png;base64,{}">').format(heading, code)
