"""The adapters of an engine, by the names that requests have for them."""

from collections.abc import Mapping
import dataclasses
import gc
import threading
from typing import Any
import weakref

from jaxseq import validate
from jaxseq.adapt import batch
from jaxseq.generation import _pairs
from jaxseq.generation._engine_rows import Task
from jaxseq.types import PyTree


@dataclasses.dataclass
class _Place:
  """An adapter, or a free place for one."""

  name: str | None = None  # None if no request can select it any more.
  adapters: batch.Adapters = dataclasses.field(default_factory=dict)
  digest: bytes = b""
  # Requests that use it; weak references.
  users: weakref.WeakSet[Task] = dataclasses.field(
    default_factory=weakref.WeakSet
  )


class Named:
  """Adapters by their numbers from 1 on; 0 is no adapter.

  Numbers are those of places: an adapter keeps its number until the last
  request that uses it has ended, even if it cannot be selected any more.
  """

  def __init__(
    self, adapters: Mapping[str, batch.Adapters] | None, room: int = 0
  ):
    """Returns adapters, with free places for more."""
    self._places = [
      _Place(name, each, batch.digest(each))
      for name, each in (adapters or {}).items()
    ]
    self._places += [_Place() for _ in range(room)]
    self._lock = threading.RLock()
    # Held while an adapter is put into a place.
    self.changing = threading.Lock()

  @property
  def names(self) -> tuple[str, ...]:
    """Names of all adapters."""
    return tuple(place.name for place in self._places if place.name is not None)

  def find(self, name: str | None) -> tuple[int, bytes]:
    """Returns the number and digest of an adapter; refuses unknown names."""
    if name is None:
      return 0, b""
    for number, place in enumerate(self._places, 1):
      if place.name == name:
        return number, place.digest
    names = ", ".join(map(repr, self.names))
    expected = f"None, or one of {names}" if names else "None: there is none"
    raise validate.error("adapter", name, expected)

  def hold(self, task: Task) -> None:
    """Keeps the adapter of a request in its place; it may have gone."""
    with self._lock:
      if (task.adapter, task.digest) != self.find(task.request.adapter):
        got = task.request.adapter
        raise validate.error("adapter", got, "one that is not exchanged")
      if task.adapter:
        self._places[task.adapter - 1].users.add(task)

  def free(self, name: str) -> int:
    """Returns the number of a place for a new adapter of this name.

    Raises:
      ValueError: if an adapter has that name already, or no place is free.
    """
    if name in self.names:
      raise validate.error("adapter", name, "a name that no other one has")
    for attempt in range(2):
      for number, place in enumerate(self._places, 1):
        if place.name is None and not place.users:
          return number
      if not attempt:
        gc.collect()
    most = len(self._places)
    expected = f"at most {most} at a time, with those that still answer"
    raise validate.error("adapters", most + 1, expected)

  def put(self, number: int, name: str, adapters: batch.Adapters) -> None:
    """Lets requests have an adapter in a place that is free."""
    with self._lock:
      digest = batch.digest(adapters)
      self._places[number - 1] = _Place(name, adapters, digest)

  def remove(self, name: str) -> None:
    """Rejects an adapter in new requests; requests that use it continue."""
    with self._lock:
      number, _ = self.find(name)
      self._places[number - 1].name = None

  def attached(
    self, reader: Any, variables: PyTree, new: Mapping[int, Any] | None = None
  ) -> PyTree:
    """Returns the variables of the prompt reader, with the adapters.

    Args:
      reader: the network, or a pair with a drafting one.
      variables: variables without adapters.
      new: new adapters by their places.
    """
    adapters = [place.adapters for place in self._places]
    for number, each in (new or {}).items():
      adapters[number - 1] = each
    if not any(adapters):
      return variables
    if isinstance(reader, _pairs.Both):
      large, small = variables
      return batch.attach(large, adapters), small
    return batch.attach(variables, adapters)
