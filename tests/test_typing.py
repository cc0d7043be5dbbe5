# SPDX-License-Identifier: BSD-3-Clause
"""The types of the public interface: the names in them, and that nothing public lacks them.

What a type checker makes of them is a step of .ci/run, on tests/typing.
"""

import inspect
from importlib.resources import files
from typing import get_args

import pytest

import fastcorr
from fastcorr import _adjoint_problem, _padding, _problem, _scipy_api, _shapes, _typing


def public_callables():
    for module in (fastcorr, fastcorr.nn):
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isfunction(value):
                yield f"{module.__name__}.{name}", value
            elif inspect.isclass(value):
                for method, function in vars(value).items():
                    is_special = method in ("__init__", "__call__") or not method.startswith("_")
                    if inspect.isfunction(function) and is_special:
                        yield f"{module.__name__}.{name}.{method}", function


@pytest.mark.parametrize(
    ("alias", "names"),
    [
        (_typing.Method, _problem.METHODS),
        (_typing.PaddingMode, _padding.PADDING_MODES),
        (_typing.NamedPadding, _shapes._NAMED_PADDING),
        (_typing.SciPyMethod, _scipy_api._METHODS),
        (_typing.SciPyBoundary, _scipy_api._PADDING_MODES),
    ],
)
def test_the_names_are_those_of_the_code(alias, names):
    assert get_args(alias) == tuple(names)


def test_methods_of_gradients_and_modes_of_scipy():
    for method in _problem.METHODS:
        if method in get_args(_typing.GradientMethod):
            _adjoint_problem.check_gradient_method(method)
        else:
            with pytest.raises(ValueError, match="expected 'auto' or"):
                _adjoint_problem.check_gradient_method(method)
    for mode in get_args(_typing.SciPyMode):
        fastcorr.correlate2d([[1]], [[1]], mode)


@pytest.mark.parametrize("function", [pytest.param(f, id=name) for name, f in public_callables()])
def test_every_argument_and_result_has_a_type(function):
    signature = inspect.signature(function)
    untyped = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.annotation is parameter.empty and parameter.name != "self"
    ]
    if signature.return_annotation is signature.empty:
        untyped.append("return")
    assert not untyped


def test_type_checkers_are_told():
    assert files("fastcorr").joinpath("py.typed").is_file()
