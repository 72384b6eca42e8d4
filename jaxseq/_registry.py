"""A registry: names for things that are imported when first asked for."""

from collections.abc import Iterator
from collections.abc import Mapping
import importlib
import importlib.util
import pkgutil
import re
from typing import Any

from jaxseq import validate


class NotRegistered(ValueError):
  """A name that nothing imported so far has registered."""


class Registry(Mapping[str, Any]):
  """Names of modules or of what they hold, open to a user's own entries.

  The values are import paths, "package.module" or "package.module:attribute",
  so that an entry costs nothing before it is used, or things that a user has at
  hand. As a mapping it goes from names to what they stand for, in the order of
  the names:

      games = Registry("game", {"breakout": "games.breakout:make"})
      games.register("my_game", "my_package.my_module:make")
      make = games["my_game"]

  Attributes:
    kind: what the entries are, in the singular, for messages.
    written: how an experiment writes its call of `register`, by which the
      message for an unknown name finds the experiment that registers it.
  """

  def __init__(self, kind: str, paths: Mapping[str, str], written: str = ""):
    self.kind = kind
    self.written = written
    self._paths = dict(paths)

  def register(self, name: str, path: Any) -> None:
    """Makes an entry known under a name.

    Args:
      name: the name.
      path: "package.module" or "package.module:attribute", or what the name is
        to stand for, if that is no string; it can be replaced.

    Raises:
      ValueError: if the name stands for another path already.
    """
    present = self._paths.setdefault(name, path)
    if isinstance(present, str) and present != path:
      raise ValueError(
        f"{self.kind}: got {name!r}, expected a name that is free: it stands "
        f"for {present}, not for {path}."
      )
    self._paths[name] = path

  def names(self) -> tuple[str, ...]:
    """Returns all names, sorted."""
    return tuple(sorted(self._paths))

  def check(self, name: str, noun: str | None = None) -> str:
    """Checks that there is an entry of a name.

    Args:
      name: the name, which is returned.
      noun: what it is called in the message; `kind` by default.

    Raises:
      NotRegistered: (a ValueError) if an experiment has to be imported first.
      ValueError: if there is no such entry.
    """
    noun = noun or self.kind
    # What comes from a file may be of any type.
    unknown = isinstance(name, str) and name not in self._paths
    if unknown and (module := self._experiment(name)):
      expected = f"`import {module}` before, which registers it"
      raise NotRegistered(str(validate.error(noun, name, expected)))
    return validate.choice(noun, name, self.names())

  def _experiment(self, name):
    """The folder of `experiments` that registers a name, by its text."""
    found = importlib.util.find_spec("experiments") if self.written else None
    call = f'^{re.escape(self.written)}\\(\\s*"{re.escape(name)}"'
    places = found.submodule_search_locations if found else None
    for folder in pkgutil.iter_modules(places or ()):
      finder: Any = folder.module_finder
      source = finder.find_spec(folder.name).loader.get_source(folder.name)
      if re.search(call, source or "", re.MULTILINE):
        return f"experiments.{folder.name}"
    return None

  def path(self, name: str) -> Any:
    """Returns what was registered for a name, without importing it.

    Raises:
      ValueError: if there is no such entry, see `check`.
    """
    return self._paths[self.check(name)]

  def get(self, name: str) -> Any:
    """Returns what a name stands for.

    Raises:
      ValueError: if there is no such entry.
    """
    path = self.path(name)
    if not isinstance(path, str):
      return path
    module, _, attribute = path.partition(":")
    loaded = importlib.import_module(module)
    return getattr(loaded, attribute) if attribute else loaded

  def __getitem__(self, name: str) -> Any:
    return self.get(name)

  def __iter__(self) -> Iterator[str]:
    return iter(self.names())

  def __len__(self) -> int:
    return len(self._paths)

  def __contains__(self, name: object) -> bool:
    return name in self._paths
