"""Models that read a sequence from its start and from its end."""

from typing import Any
from typing import Literal

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.nn import recurrent

# Options whose number of values may happen to equal the number of elements.
_AT_ALL_TIMES = "condition", "lower_bound"


class Bidirectional(linen.Module):
  """A forward and a backward model (BRNN; Schuster, Paliwal 1997).

    config = mixers.make_config("gru", d_model=8)
    model = nn.Bidirectional(
      nn.SequenceMixer(config), nn.SequenceMixer(config)
    )
    y = model.apply(variables, x, reset)

  It has no state and no step: each output depends on the whole episode.

  Attributes:
    forward: `SequenceMixer`, `SequenceLayer` or `SequenceModel`.
    backward: model of the same kinds that reads from the end.
    merge: whether the outputs are added or concatenated.
  """

  forward: recurrent.Recurrent
  backward: recurrent.Recurrent
  merge: Literal["sum", "concat"] = "sum"

  def __call__(
    self,
    x: jax.Array,
    reset: jax.Array | None = None,
    lengths: jax.Array | None = None,
    **options: Any,
  ) -> jax.Array:
    """Runs over a sequence.

    Args:
      x: (*batch, time, n).
      reset: (*batch, time) bool, or None; True begins an episode, and neither
        direction sees across.
      lengths: (*batch,) numbers of valid elements before the padding; all are
        valid if None.
      **options: arguments of both models, as `train=True`; options with a value
        per element are rejected, because one model would read them reversed.

    Returns:
      (*batch, time, n), or (*batch, time, 2 n) with "concat".

    Raises:
      ValueError: if `merge` is unknown, or an argument does not fit.
    """
    validate.choice("merge", self.merge, ("sum", "concat"))
    _check_options(options, x.shape[:-1])
    options = {**options, "lengths": lengths}
    ahead, _ = self.forward(x, None, reset, **options)
    if reset is not None:
      # In reversed order, the first element of an episode is its last.
      ends = jnp.roll(reset, -1, axis=-1).at[..., -1].set(False)
      reset = reverse(ends[..., None], lengths)[..., 0]
    back, _ = self.backward(reverse(x, lengths), None, reset, **options)
    back = reverse(back, lengths)
    if self.merge == "sum":
      return ahead + back
    return jnp.concatenate([ahead, back], axis=-1)


def _check_options(options, elements):
  """Raises an error for options with a value per element."""
  for path, leaf in jax.tree_util.tree_leaves_with_path(options):
    name = jax.tree_util.keystr(path, simple=True, separator=".")
    shape = getattr(leaf, "shape", ())
    same = name.rpartition(".")[2] in _AT_ALL_TIMES
    if shape[: len(elements)] == elements and not same:
      expected = "none that has a value for every element, in both directions"
      raise validate.error(name, f"shape {shape}", expected)


def reverse(x: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
  """Reverses the valid elements of series; the padding stays in its place.

  Args:
    x: (*batch, time, features).
    lengths: (*batch,) numbers of valid elements; all are valid if None.

  Returns:
    x's shape.
  """
  if lengths is None:
    return jnp.flip(x, axis=-2)
  times = jnp.arange(x.shape[-2])
  index = jnp.asarray(lengths)[..., None] - 1 - times
  index = jnp.where(index >= 0, index, times)
  return jnp.take_along_axis(x, index[..., None], axis=-2)
