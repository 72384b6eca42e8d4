"""A registry: names for things that are imported when first asked for."""

from collections.abc import Iterator
from collections.abc import Mapping
import importlib
from typing import Any

from jaxseq import validate


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
  """

  def __init__(self, kind: str, paths: Mapping[str, str]):
    self.kind = kind
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

  def path(self, name: str) -> Any:
    """Returns what was registered for a name, without importing it.

    Raises:
      ValueError: if there is no such entry.
    """
    return self._paths[validate.choice(self.kind, name, self.names())]

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
