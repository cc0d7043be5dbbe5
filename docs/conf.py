# SPDX-License-Identifier: BSD-3-Clause
"""The documentation site: `python -m sphinx -W --keep-going -b html docs docs/_build/html`.

It documents the installed fastcorr, and needs no network: inventories of other projects are in
docs/inventories (`make_inventories.py` writes them), formulas become MathML (`_ext/mathml.py`), and
the theme brings its icons along. Figures, tables of capabilities and the gallery are computed
during the build.
"""

import sys
import warnings
from pathlib import Path

import fastcorr

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE / "figures")]

project = "fastcorr"
copyright = "the fastcorr developers"
version = release = fastcorr.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "sphinx.ext.intersphinx",
    "matplotlib.sphinxext.plot_directive",
    "numpydoc",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "accuracy_table",
    "benchmark_tables",
    "capabilities",
    "mathml",
]
exclude_patterns = ["_build", "gallery"]  # the gallery is built from its scripts
default_role = "py:obj"
rst_prolog = ".. currentmodule:: fastcorr\n"  # `corr2d` is enough for a link
numfig = True
math_number_all = True
math_eqref_format = "({number})"
html_math_renderer = "mathml"
extlinks = {
    "doi": ("https://doi.org/%s", "doi:%s"),
    "arxiv": ("https://arxiv.org/abs/%s", "arXiv:%s"),
}

autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_validation_checks = set()  # tests/test_docs.py validates

intersphinx_mapping = {
    name: (url, f"inventories/{name}.inv")
    for name, url in {
        "python": "https://docs.python.org/3/",
        "numpy": "https://numpy.org/doc/stable/",
        "scipy": "https://docs.scipy.org/doc/scipy/",
    }.items()
}

templates_path = ["_templates"]
html_theme = "pydata_sphinx_theme"
html_title = "fastcorr"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "fastcorr"},
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 7,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"index": [], "performance/index": []}

plot_formats = [("svg", 100)]
plot_html_show_formats = False
plot_html_show_source_link = False
plot_rcparams = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "font.size": 10,
    "svg.fonttype": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
plot_apply_rcparams = True
plot_basedir = plot_working_directory = str(HERE / "figures")

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "filename_pattern": r"/plot_",
    "image_srcset": ["2x"],
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "abort_on_example_error": True,
    "only_warn_on_example_error": False,
    "doc_module": ("fastcorr",),
    "reference_url": {"fastcorr": None},
    "backreferences_dir": None,
    "write_computation_times": False,  # the page of times asks the network for scripts
}
# What the examples import may warn of its own future.
warnings.filterwarnings("ignore", category=DeprecationWarning)
suppress_warnings = ["config.cache"]  # sphinx_gallery_conf cannot be pickled
