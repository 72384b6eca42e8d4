"""A mapping that cannot be changed and has a hash."""

from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any


# That of flax would have every config file, and `--help`, import flax.
class FrozenMapping(Mapping):
  """A mapping whose values are hashable; equal to any mapping of the same."""

  def __init__(self, items: Mapping[str, Any] | None = None):
    self._items = dict(items or {})

  def __getitem__(self, name: str) -> Any:
    return self._items[name]

  def __iter__(self) -> Iterator[str]:
    return iter(self._items)

  def __len__(self) -> int:
    return len(self._items)

  def __hash__(self) -> int:
    return hash(frozenset(self._items.items()))

  def __repr__(self) -> str:
    return f"FrozenMapping({self._items!r})"
