# SPDX-License-Identifier: BSD-3-Clause
"""Formulas as MathML, which browsers draw themselves: no scripts, no fonts, no network."""

from latex2mathml.converter import convert
from sphinx.util.math import get_node_equation_number


def _mathml(latex, display):
    # `&` and line ends are those of an alignment
    if display == "block" and (r"\\" in latex or "&" in latex) and r"\begin" not in latex:
        latex = rf"\begin{{aligned}}{latex}\end{{aligned}}"
    return convert(latex, display=display)


def visit_inline(self, node):
    self.body.append(f'<span class="formula">{_mathml(node.astext(), "inline")}</span>')


def visit_block(self, node):
    self.body.append(self.starttag(node, "div", CLASS="formula"))
    self.body.append(f'<div class="formula-body">{_mathml(node.astext(), "block")}</div>')
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append("</div>\n")


def leave(self, node):
    pass


def skipping_children(visit):
    """Docutils' way to say that a visitor has dealt with the node's text itself."""
    from docutils.nodes import SkipNode

    def visitor(self, node):
        visit(self, node)
        raise SkipNode

    return visitor


def setup(app):
    app.add_html_math_renderer(
        "mathml",
        (skipping_children(visit_inline), leave),
        (skipping_children(visit_block), leave),
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
