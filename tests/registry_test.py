"""The registry class that all lists of names are made of."""

import collections
import sys

import pytest

from jaxseq import _registry


@pytest.fixture
def kinds():
  return _registry.Registry(
    "kind", {"ordered": "collections:OrderedDict", "module": "colorsys"}
  )


def test_entries_are_modules_or_what_they_hold(kinds):
  assert kinds["ordered"] is collections.OrderedDict
  assert kinds.get("module") is sys.modules["colorsys"]


def test_names_cost_no_import(kinds):
  kinds.register("missing", "no_such_module_of_anybody")
  assert kinds.names() == ("missing", "module", "ordered")
  assert "missing" in kinds
  assert len(kinds) == 3
  assert list(kinds) == list(kinds.names())
  with pytest.raises(ModuleNotFoundError):
    kinds.get("missing")


def test_a_name_stands_for_one_thing(kinds):
  kinds.register("module", "colorsys")
  with pytest.raises(ValueError, match=r"kind: got 'module', expected a name"):
    kinds.register("module", "json")
  assert kinds.path("module") == "colorsys"


def test_unknown_name_is_told_what_there_is(kinds):
  message = (
    r"kind: got 'orderd', expected one of 'module', 'ordered' "
    r"\(did you mean ordered\?\)\."
  )
  with pytest.raises(ValueError, match=message):
    kinds.get("orderd")
