# SPDX-License-Identifier: BSD-3-Clause
"""Docutils tables from lists of cells."""

from docutils import nodes


def table(heading, rows, classes=()):
    """Return a table; a cell is text or a node."""
    result = nodes.table(classes=list(classes))
    group = nodes.tgroup(cols=len(heading))
    group += [nodes.colspec(colwidth=1) for _ in heading]
    group += nodes.thead("", _row(heading))
    group += nodes.tbody("", *map(_row, rows))
    result += group
    return result


def _row(cells):
    return nodes.row("", *(nodes.entry("", _paragraph(cell)) for cell in cells))


def _paragraph(cell):
    content = nodes.Text(cell) if isinstance(cell, str) else cell
    return nodes.paragraph("", "", content)
