"""Docstrings as they are at run time: an extension of Griffe.

Griffe reads sources and imports nothing. Four things are not in them as it
looks for them: docstrings that decorators of `jaxseq.mixers.contract` complete,
comments above a module's constants, functions that another one makes for an
agent, and public names of what a private module defines.
"""

import copy
import importlib
import inspect
import linecache
from typing import Any

import griffe

_REGISTRY = "jaxseq._registry.Registry"
# How the values of an agent's functions begin.
_MADE = "_agent.", "common.make_train("


class Completed(griffe.Extension):
  """Puts completed docstrings in the place of those of the sources."""

  def on_module_members(self, *, mod: griffe.Module, **kwargs: Any) -> None:
    """Completes what is known when a module has been read."""
    del kwargs
    for member in mod.members.values():
      if member.is_alias or member.name.startswith("_"):
        continue
      if member.is_attribute and member.docstring is None:
        _take_comment(mod, member)
        if str(member.value).startswith(_MADE):
          _take_made(mod, member)
      elif mod.path.startswith("jaxseq.mixers."):
        _take_completed(mod, member)

  def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
    """Resolves names of other names, when all modules have been read."""
    del kwargs
    for module in _walk(pkg):
      for name, member in list(module.members.items()):
        if member.is_alias or not member.is_attribute or member.docstring:
          continue
        found = _defined(pkg, module, str(member.value))
        if found is not None and not name.startswith("_"):
          public = copy.copy(found)
          public.name, public.parent = name, module
          public.lineno, public.aliases = member.lineno, {}
          module.set_member(name, public)  # Aliases of the name follow.


def _walk(module):
  yield module
  for below in module.modules.values():
    if not below.is_alias:
      yield from _walk(below)


def _take_comment(module: griffe.Module, attribute: griffe.Attribute) -> None:
  """The lines of comment right above an assignment are its docstring."""
  lines = []
  number = (attribute.lineno or 1) - 1
  while True:
    line = linecache.getline(str(module.filepath), number)
    if not line.startswith("# "):
      break
    lines.insert(0, line.removeprefix("# "))
    number -= 1
  if lines:
    attribute.docstring = griffe.Docstring("".join(lines), parent=attribute)


def _take_made(module: griffe.Module, attribute: griffe.Attribute) -> None:
  """The docstring of a function that another one has made."""
  value = getattr(importlib.import_module(module.path), attribute.name)
  text = inspect.getdoc(value) or ""
  attribute.docstring = griffe.Docstring(text, parent=attribute)


def _take_completed(module: griffe.Module, member: griffe.Object) -> None:
  """What a decorator, or a base class, has written at run time."""
  if member.is_function or member.is_class:
    found = getattr(importlib.import_module(module.path), member.name)
    text = inspect.getdoc(found)
    if text and member.docstring:
      member.docstring.value = text


def _defined(package, module, value) -> griffe.Object | None:
  """What `name = value` stands for, if no public module defines it."""
  holder, _, attribute = value.rpartition(".")
  if holder not in module.members:
    return None
  holder = module.members[holder]
  if holder.is_alias:
    path = holder.target_path
    if not path.startswith(f"{package.name}.") or "._" not in path:
      return None
  elif str(holder.value).partition("(")[0].endswith("Registry"):
    path = _REGISTRY
  else:
    return None
  place = package[path.partition(".")[2]]
  return place.members.get(attribute) if not place.is_alias else None
