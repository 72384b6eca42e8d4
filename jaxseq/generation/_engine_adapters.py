"""The adapters of an engine, by the names that requests have for them."""

from collections.abc import Mapping

from jaxseq import _validate
from jaxseq._types import PyTree
from jaxseq.adapt import batch
from jaxseq.generation import _draft_slots


class Named:
  """Numbers and digests of adapters; none, which is the first, is None."""

  def __init__(self, adapters: Mapping[str, batch.Adapters] | None):
    self._adapters = dict(adapters or {})
    self._known: dict[str | None, tuple[int, bytes]] = {None: (0, b"")}
    for number, (name, each) in enumerate(self._adapters.items(), 1):
      self._known[name] = number, batch.digest(each)

  @property
  def names(self) -> tuple[str, ...]:
    """Names of all adapters."""
    return tuple(self._adapters)

  def find(self, name: str | None) -> tuple[int, bytes]:
    """Returns the number and digest of an adapter; refuses unknown names."""
    if name not in self._known:
      names = ", ".join(map(repr, self.names))
      expected = f"None, or one of {names}" if names else "None: there is none"
      raise _validate.error("adapter", name, expected)
    return self._known[name]

  def attached(self, reader: object, variables: PyTree) -> PyTree:
    """Returns the variables of what reads prompts, with the adapters."""
    if not self._adapters:
      return variables
    adapters = list(self._adapters.values())
    if isinstance(reader, _draft_slots.Both):
      large, small = variables
      return batch.attach(large, adapters), small
    return batch.attach(variables, adapters)
