"""What is public is what `__all__` says, and looks as if it stood in asyncsd itself."""

import inspect
import pickle
import re
import typing
from dataclasses import is_dataclass
from types import FunctionType, ModuleType
from typing import Any

import pytest

import asyncsd
from asyncsd.agent import Agent, Fault
from asyncsd.backends import _MODULES, from_url
from asyncsd.testing import AgentThread, FakeClock

CLASSES = [name for name in asyncsd.__all__ if inspect.isclass(getattr(asyncsd, name))]
DOCUMENTED = [name for name in asyncsd.__all__ if isinstance(getattr(asyncsd, name), type | FunctionType)]


def test_all_is_sorted() -> None:
    assert asyncsd.__all__ == sorted(asyncsd.__all__, key=str.casefold)


def test_all_is_exactly_what_is_public() -> None:
    public = {
        name
        for name, value in vars(asyncsd).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert public == set(asyncsd.__all__)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_name_reads_as_one_of_asyncsd(name: str) -> None:
    assert getattr(asyncsd, name).__module__ == "asyncsd"


@pytest.mark.parametrize("name", DOCUMENTED)
def test_name_has_a_docstring_of_its_own(name: str) -> None:
    text = vars(getattr(asyncsd, name)).get("__doc__") or getattr(asyncsd, name).__doc__ or ""
    assert text.strip(), f"{name} has no docstring"
    # What a dataclass or a NamedTuple writes by itself says nothing.
    assert not text.startswith(f"{name}("), f"{name} has no docstring of its own"


@pytest.mark.parametrize("function", [from_url, asyncsd.Discovery.from_url])
def test_from_url_names_all_schemes(function: FunctionType) -> None:
    words = set(re.findall(r"[a-z0-9]+", inspect.getdoc(function) or ""))
    assert words >= set(_MODULES)


def members(cls: type[Any]) -> dict[str, Any]:
    """The public methods and properties that a class defines itself."""
    return {
        name: member
        for name, member in vars(cls).items()
        if not name.startswith("_")
        and isinstance(member, FunctionType | property | classmethod | staticmethod)
        and getattr(member, "__name__", name) == name  # Meta's are all the one that refuses.
    }


PROTOCOLS = [cls for cls in map(vars(asyncsd).get, CLASSES) if getattr(cls, "_is_protocol", False)]
SAID_BY_A_PROTOCOL = {name for protocol in PROTOCOLS for name in members(protocol)}


@pytest.mark.parametrize("name", CLASSES)
def test_public_methods_have_docstrings(name: str) -> None:
    cls = getattr(asyncsd, name)
    said = set() if cls in PROTOCOLS else SAID_BY_A_PROTOCOL
    bare = [name for name, value in members(cls).items() if not inspect.getdoc(value) and name not in said]
    assert not bare, f"{cls.__name__} has methods without a docstring: {bare}"


@pytest.mark.parametrize("cls", [Agent, Fault, AgentThread, FakeClock], ids=lambda cls: str(cls.__name__))
def test_tools_have_docstrings_too(cls: type[object]) -> None:
    assert inspect.getdoc(cls)
    said = SAID_BY_A_PROTOCOL if cls is FakeClock else set()
    bare = [name for name, value in members(cls).items() if not inspect.getdoc(value) and name not in said]
    assert not bare, f"{cls.__name__} has methods without a docstring: {bare}"


@pytest.mark.parametrize("name", [name for name in CLASSES if is_dataclass(getattr(asyncsd, name))])
def test_annotations_can_be_resolved(name: str) -> None:
    typing.get_type_hints(getattr(asyncsd, name))


@pytest.mark.parametrize("name", CLASSES)
def test_class_can_be_pickled_by_name(name: str) -> None:
    cls = getattr(asyncsd, name)
    assert pickle.loads(pickle.dumps(cls)) is cls
