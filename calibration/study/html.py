"""The few HTML parts that the report is made of; everything that is text is escaped here."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; color: #1d2733; max-width: 76rem; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; }
h3 { margin-bottom: 0; } h2 { margin-top: 2.4rem; border-bottom: 1px solid #d5dbe1; padding-bottom: .2rem; }
p, li { max-width: 50rem; } code { background: #f1f4f6; padding: 0 .25em; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; font-size: .9rem; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #e5e9ed; }
th:first-child, td:first-child { text-align: left; }
tr.mean td { font-weight: 600; border-top: 2px solid #9aa5b1; }
figure { margin: 1.4rem 0; } img { max-width: 100%; } figcaption { color: #55606c; font-size: .9rem; }
.wide { overflow-x: auto; }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """Return a whole document that needs nothing beside it."""
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n<h1>{escape(title)}</h1>\n{body}\n"
        "</body></html>\n"
    )


def heading(text: str) -> str:
    """Return a section's heading."""
    return f"<h2>{escape(text)}</h2>"


def subheading(text: str) -> str:
    """Return a heading within a section."""
    return f"<h3>{escape(text)}</h3>"


def paragraph(text: str) -> str:
    """Return a paragraph; line breaks count as spaces."""
    return f"<p>{escape(_flowing(text))}</p>"


def bullets(items: Iterable[str]) -> str:
    """Return a list."""
    return "<ul>" + "".join(f"<li>{escape(_flowing(item))}</li>" for item in items) + "</ul>"


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], *, mean_row: bool = False) -> str:
    """Return a table; with `mean_row` the last row is set off."""
    rendered = [_row(row) for row in rows]
    if mean_row and rendered:
        rendered[-1] = rendered[-1].replace("<tr>", '<tr class="mean">', 1)
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    return (
        f'<div class="wide"><table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rendered)}</tbody></table></div>"
    )


def picture(png: bytes, caption: str) -> str:
    """Return a picture that is part of the document."""
    data = base64.b64encode(png).decode("ascii")
    caption = _flowing(caption)
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{escape(caption)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _flowing(text: str) -> str:
    return " ".join(text.split())


def _row(cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
