"""A recurrent core with the signature of the RNNs in RL codebases.

purejaxrl, JaxMARL, Mava, Stoix and their successors scan a GRU over time by a
module of this form; here any stack of mixers replaces the GRU:

    core = RecurrentCore(nn.StackConfig("s5", d_model=128))
    carry = core.initialize_carry(batch_size)
    carry, out = core(carry, (ins, resets))       # within another Linen module
"""

from typing import Any

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.nn import dense
from jaxseq.nn import sequence_model
from jaxseq.nn import stack
from jaxseq.types import PyTree


class RecurrentCore(linen.Module):
  """`(carry, (ins, resets)) -> (carry, out)`, with the time axis first.

  The carry is the states of the stack's layers: a tree of arrays whose first
  axis is the batch, where a GRU has one array. A sequence runs in parallel, a
  single element as a step.

  Attributes:
    config: the stack. Batch norm and dropout are off.
  """

  config: stack.StackConfig

  @linen.compact
  def __call__(
    self, carry: PyTree, x: tuple[jax.Array, jax.Array]
  ) -> tuple[PyTree, jax.Array]:
    """Runs over a sequence.

    Args:
      carry: states before the first element, as from `initialize_carry`.
      x: features (time, batch, n) and flags (time, batch) bool; True resets the
        states to fresh ones before that element.

    Returns:
      The states after the last element, and outputs (time, batch, d_model).

    Raises:
      ValueError: if the axes do not fit.
    """
    ins, resets = x
    if ins.ndim != 3 or resets.shape != ins.shape[:2]:
      shapes = f"shapes {ins.shape} and {resets.shape}"
      expected = "(time, batch, features) and (time, batch)"
      raise validate.error("ins and resets", shapes, expected)
    if ins.shape[-1] != self.config.d_model:
      dtype = self.config.dtype
      ins = dense.Dense(self.config.d_model, dtype=dtype, name="encoder")(ins)
    model = sequence_model.SequenceModel(self.config, name="memory")
    resets = resets.astype(bool)
    if len(ins) == 1:
      out, carry = model(ins[0], carry, resets[0], step=True)
      return carry, out[None]
    out, carry = model(jnp.swapaxes(ins, 0, 1), carry, resets.T)
    return carry, jnp.swapaxes(out, 0, 1)

  @linen.nowrap
  def initialize_carry(self, batch_size: int, *unused_sizes: Any) -> PyTree:
    """Returns fresh states; works on an unbound module.

    Args:
      batch_size: number of environments.
      *unused_sizes: ignored, such as the width of a hidden state, which some
        callers pass; here the configuration has it.
    """
    model = sequence_model.SequenceModel(self.config, parent=None)
    return model.initial_state((batch_size,))
