"""Variants of a config file, by name."""

from typing import Generic
from typing import TypeVar

from jaxseq import validate

T = TypeVar("T")


class Variants(Generic[T]):
  """The `get_config` of a file; the first of its variants is the default."""

  def __init__(self, **configs: T):
    self._configs = configs
    self.names = tuple(configs)

  def __call__(self, variant: str | None = None) -> T:
    """Returns the config of a variant.

    Raises:
      ValueError: if there is no such variant.
    """
    name = self.names[0] if variant is None else variant
    return self._configs[validate.choice("variant", name, self.names)]
