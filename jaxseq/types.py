"""Names of types that all packages share."""

from typing import Any
from typing import Protocol
from typing import TypeAlias
from typing import TypeVar

# Arrays in dicts, tuples and registered classes; no checker follows them.
PyTree: TypeAlias = Any
# Whatever comes, and is returned in the same shape.
T = TypeVar("T")


class Network(Protocol):
  """Functions of a Flax module, which any object with them may replace."""

  def init(self, *args: Any, **options: Any) -> Any:
    """Returns variables, from a key and the arguments of `apply`."""

  def apply(self, variables: PyTree, *args: Any, **options: Any) -> Any:
    """Returns outputs, and the states after them if there are states."""


class CausalNetwork(Network, Protocol):
  """Network that carries states from element to element."""

  def initial_state(self, *args: Any, **options: Any) -> PyTree:
    """Returns the states of fresh sequences, from the shape of the batch."""


class TokenNetwork(CausalNetwork, Protocol):
  """Network from tokens to the logits of the next, as `nn.SequenceNetwork`."""

  @property
  def config(self) -> Any:
    """Options: `nn.NetworkConfig`, or others with `stack` and `pooling`."""

  @property
  def vocab_size(self) -> int | None:
    """Number of tokens that it reads; None if it reads none."""

  @property
  def num_outputs(self) -> int:
    """Number of logits, at most `vocab_size` if its samples are read again."""
