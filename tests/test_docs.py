# SPDX-License-Identifier: BSD-3-Clause
"""The documentation is true: its examples run, its numbers are there, no public name lacks a text.

The site itself is built by the command in README.md; here its sources are read, which is quick.
"""

import doctest
import importlib
import importlib.util
import inspect
import re
import warnings
from pathlib import Path

import pytest

import fastcorr

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(
    page.relative_to(DOCS).as_posix()
    for page in DOCS.rglob("*.rst")
    if page.name != "sg_execution_times.rst"  # a page that the build makes, as those of the folders
    and not {"_build", "auto_gallery", "generated", "_templates"} & set(page.parts)
)
pytestmark = pytest.mark.skipif(not PAGES, reason="the sources of the documentation are not here")

# The numbers of "Dive into Deep Learning", chapters 7.1 to 7.4, and the page of the tutorial that
# computes them. Each is looked for in what the examples of that page print.
BOOK = {
    "tutorial/why.rst": {
        "7.1.1 a dense layer on a megapixel, 1000 outputs": "1e+09",
        "7.1.2 and an image as output": "1e+12",
        "7.1.2 translation equivariance, about 4 x 10^6": "3,996,001",
        "7.1.2 locality, (2 Delta + 1)^2": "25",
        "7.1.4 the shape of a photograph": "(1024, 1024, 3)",
    },
    "tutorial/operation.rst": {
        "7.2.1 the operation": "array([[19., 25.], [37., 43.]])",
        "7.2.1 the size of the output": "(2, 2)",
        "7.2.3 the image": "[1., 1., 0., 0., 0., 0., 1., 1.]",
        "7.2.3 its edges": "[ 0., 1., 0., 0., 0., -1., 0.]",
        "7.2.3 a transposed image has none": "False",
        "7.2.4 ten epochs": "epoch 10, loss",
        "7.2.4 the kernel that was learnt, about [1, -1]": "array([[[[ 0.98, -1. ]]]])",
    },
    "tutorial/padding_stride.rst": {
        "7.3 ten layers of 5 x 5": "(200, 200)",
        "7.3.1 a padded image": (
            "array([[ 0., 3., 8., 4.], [ 9., 19., 25., 10.], "
            "[21., 37., 43., 16.], [ 6., 7., 8., 0.]])"
        ),
        "7.3.1 a padding that keeps the size": "(8, 8)",
        "7.3.2 strides of 3 and 2": "array([[0., 8.], [6., 8.]])",
        "7.3.2 a stride of 2": "(4, 4)",
        "7.3.2 kernel (3, 5), padding (0, 1), stride (3, 4)": "(2, 2)",
    },
    "tutorial/channels.rst": {
        "7.4.1 two inputs": "array([[ 56., 72.], [104., 120.]])",
        "7.4.1 the first of them": "56",
        "7.4.2 the shape of the weights": "(3, 2, 2, 2)",
        "7.4.2 the second output": "[[ 76., 100.], [148., 172.]]",
        "7.4.2 the third output": "[[ 96., 128.], [192., 224.]]",
        "7.4.3 1 x 1 as a matrix product": "True",
    },
}


def examples_of(page):
    return doctest.DocTestParser().get_examples((DOCS / page).read_text(encoding="utf-8"), page)


@pytest.mark.parametrize("page", PAGES)
def test_examples_of_a_page(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    if "skimage" in text and importlib.util.find_spec("skimage") is None:
        pytest.skip("scikit-image is not installed")
    with warnings.catch_warnings():  # those of other packages, at their import
        warnings.simplefilter("ignore")
        failed, _ = doctest.testfile(str(DOCS / page), module_relative=False, encoding="utf-8")
    assert failed == 0


@pytest.mark.parametrize("page", BOOK)
def test_numbers_of_the_book(page):
    printed = [re.sub(r"\s+", " ", example.want).strip() for example in examples_of(page)]
    for place, number in BOOK[page].items():
        found = re.compile(rf"(?<![\w.]){re.escape(number)}(?![\w.]*\d)")
        assert any(found.search(text) for text in printed), f"{place}: {number} is not computed"


# ---- docstrings --------------------------------------------------------------------------------

# What numpydoc can say of a docstring that must not be said.
CODES = {
    "GL01", "GL02", "GL03", "GL06", "GL07", "GL08", "GL10",  # form, order of sections, existence
    "SS01", "SS02", "SS04",  # the summary
    "PR01", "PR02", "PR07", "PR10",  # parameters: all, no others, described
    "RT01", "RT03",  # returns
    "SA02", "SA03", "SA04",  # see also, with a reason
    "EX01",  # an example
}  # fmt: skip
# They raise nothing of their own.
WITHOUT_ERRORS = {"get_workers"}


def public_objects():
    """Return {dotted name: object} of all that a user can call."""
    found = {}
    for module in (fastcorr, fastcorr.nn):
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.ismodule(value) or isinstance(value, str):
                continue
            found[f"{module.__name__}.{name}"] = value
            if inspect.isclass(value):
                methods = inspect.getmembers(value, inspect.isfunction)
                own = {n: m for n, m in methods if m.__module__.startswith("fastcorr")}
                found |= {
                    f"{module.__name__}.{name}.{n}": method
                    for n, method in own.items()
                    if not n.startswith("_")
                }
    return found


OBJECTS = public_objects()


@pytest.mark.parametrize("name", OBJECTS)
def test_docstring(name):
    validate = pytest.importorskip("numpydoc.validate", exc_type=ImportError).validate
    is_method = name.count(".") > name.startswith("fastcorr.nn") + 1
    is_result = inspect.isclass(OBJECTS[name]) and name.endswith(("Grads", "Field"))
    errors = [(code, text) for code, text in validate(name)["errors"] if code in CODES]
    if is_method:  # the examples are those of the class
        errors = [error for error in errors if error[0] != "EX01"]
    if is_result:  # nobody calls it: it has attributes in the place of parameters
        errors = [error for error in errors if error[0] != "PR01"]
    assert not errors


@pytest.mark.parametrize("name", OBJECTS)
def test_docstring_names_the_errors(name):
    if name.split(".")[-1] in WITHOUT_ERRORS or not inspect.isfunction(OBJECTS[name]):
        return
    if list(inspect.signature(OBJECTS[name]).parameters) == ["self"]:
        return
    assert re.search(r"\n\s*Raises\n\s*------\n", OBJECTS[name].__doc__), f"{name} has no Raises"


def test_reference_has_every_name():
    text = (DOCS / "reference" / "index.rst").read_text(encoding="utf-8")
    listed = set(re.findall(r"^   ([\w.]+)$", text, re.MULTILINE))
    expected = {name.removeprefix("fastcorr.") for name in OBJECTS}
    expected = {name for name in expected if name.removeprefix("nn.").count(".") == 0}
    assert expected <= listed, "docs/reference/index.rst lacks names"
    assert listed - {"capabilities"} <= expected, "docs/reference/index.rst has names that are none"


def test_every_page_is_in_a_contents():
    for page in PAGES:
        if page in ("index.rst", "gallery/README.rst"):
            continue
        folder, name = DOCS / page, Path(page).stem
        parent = folder.parent / "index.rst" if name != "index" else DOCS / "index.rst"
        entry = name if name != "index" else Path(page).with_suffix("").as_posix()
        text = parent.read_text(encoding="utf-8")
        assert re.search(rf"^   {re.escape(entry)}$", text, re.MULTILINE), f"{page} is nowhere"
