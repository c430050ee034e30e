"""The extension points, as they are documented."""

from __future__ import annotations

import doctest
import inspect

import pytest

import preimage
from preimage import api
from preimage.api import API, KINDS, hooks


def test_examples_run():
    """Every docstring's example does what it shows."""
    outcome = doctest.testmod(hooks)

    assert outcome.failed == 0
    assert outcome.attempted > 20


@pytest.mark.parametrize("name", [*hooks.COLLECTORS.values(), *hooks.OBSERVERS, "check_installation"])
def test_every_hook_has_an_example(name):
    """A hook without an example that can be run is half documented."""
    assert ">>> @hookimpl" in (inspect.getdoc(getattr(hooks, name)) or "")


def test_every_kind_has_a_hook_and_a_version():
    """Collecting and versioning know the same kinds."""
    assert tuple(hooks.COLLECTORS) == KINDS == tuple(API)


def test_every_specification_is_listed():
    """No hook is known to pluggy and forgotten by the host."""
    marked = {name for name in dir(hooks) if hasattr(getattr(hooks, name), f"{hooks.PROJECT}_spec")}

    assert marked == {*hooks.COLLECTORS.values(), *hooks.OBSERVERS, "check_installation"}


@pytest.mark.parametrize("module", [preimage, api, hooks])
def test_what_is_public_exists(module):
    """`__all__` names nothing that is not there."""
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_api_exports_what_its_modules_export():
    """A contract that is public in its module is public in `preimage.api`."""
    machinery = {"COLLECTORS", "GROUP", "OBSERVERS", "PROJECT", "hookspec", "Answer"}
    modules = [module for _, module in inspect.getmembers(api, inspect.ismodule)]
    public = {name for module in modules if module.__name__.startswith("preimage.api.") for name in module.__all__}

    assert public - machinery == set(api.__all__)
