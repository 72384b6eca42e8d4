"""Constraint to substrings of a corpus, by its FM-index (arXiv:2204.10628)."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.data import fm_index


class Rows(NamedTuple):
  """Rows of the index, from `low` to before `high`, each (*batch,) int32."""

  low: jax.Array
  high: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Substrings:
  """A constraint: all tokens together occur in the corpus.

  Its state are the rows of the generated tokens, so that a step takes the same
  time after any number of tokens.

  Attributes:
    bwt: (blocks + 1, block) symbols of the index.
    starts: (symbols + 1,) int32, number of smaller symbols for each.
    checkpoints: (blocks + 1, symbols) int32; see `fm_index.FMIndex`.
    end_token: token that is allowed if no token follows in the corpus.
    always_end: whether it is always allowed.
  """

  bwt: jax.Array
  starts: jax.Array
  checkpoints: jax.Array
  end_token: int | None = dataclasses.field(metadata={"static": True})
  always_end: bool = dataclasses.field(metadata={"static": True})

  def initial(self, batch_shape: tuple[int, ...] = ()) -> Rows:
    """Returns all rows, which all tokens of the corpus precede."""
    count = self.starts[-1]
    low, high = jnp.zeros_like(count), count
    return Rows(*(jnp.broadcast_to(x, batch_shape) for x in (low, high)))

  def allowed(self, state: Rows) -> jax.Array:
    """Returns the tokens that follow in the corpus, (*batch, vocab) bool."""
    counts = self._ranks(state.high) - self._ranks(state.low)
    flags = counts[..., fm_index.SHIFT :] > 0
    if self.end_token is None:
      return flags
    ends = jnp.arange(flags.shape[-1]) == self.end_token
    if not self.always_end:
      ends = ends & ~jnp.any(flags, axis=-1, keepdims=True)
    return flags | ends

  def advance(self, state: Rows, token: jax.Array) -> Rows:
    """Returns the rows after one more token; (0, 0) if there are none."""
    symbol = token + fm_index.SHIFT
    low, high = (self.starts[symbol] + self._rank(symbol, x) for x in state)
    some = low < high
    return Rows(jnp.where(some, low, 0), jnp.where(some, high, 0))

  def _rank(self, symbol, row):
    """Returns the number of occurrences of a symbol before a row."""
    symbols_of_block, block = self._block(row)
    hits = jnp.sum(
      symbols_of_block == symbol[..., None], axis=-1, dtype=jnp.int32
    )
    return self.checkpoints[block, symbol] + hits

  def _ranks(self, row):
    """Occurrences of each symbol before a row, (*batch, symbols)."""
    symbols_of_block, block = self._block(row)
    symbols = jnp.arange(self.checkpoints.shape[-1])
    hits = jnp.sum(
      symbols_of_block[..., None] == symbols, axis=-2, dtype=jnp.int32
    )
    return self.checkpoints[block] + hits

  def _block(self, row):
    """Symbols of a row's block before it, then -1; and the block's number."""
    size = self.bwt.shape[-1]
    block, left = row // size, row % size
    before = jnp.arange(size) < left[..., None]
    return jnp.where(before, self.bwt[block].astype(jnp.int32), -1), block


def within(
  index: fm_index.FMIndex,
  *,
  end_token: int | None = None,
  always_end: bool = False,
) -> Substrings:
  """Returns the constraint that generated tokens occur in a corpus.

  Args:
    index: index of the corpus, of less than 2^31 symbols.
    end_token: token that is allowed if no token follows in the corpus, as at
      the end of a document; if None no token is allowed there.
    always_end: whether the end token is allowed after every substring.

  Raises:
    ValueError: if the corpus is too long, or `end_token` is not a token.
  """
  call = "fm_index.build(documents, vocab_size)"
  validate.instance("index", index, fm_index.FMIndex, call)
  if len(index) >= 2**31:
    expected = "one of less than 2^31 symbols"
    raise validate.error("index", f"one of {len(index)} symbols", expected)
  if end_token is not None:
    validate.integer("end_token", end_token, 0, index.vocab_size - 1)
  elif always_end:
    raise validate.error("always_end", True, "False without an end_token")
  blocks = len(index.checkpoints)
  bwt = np.zeros(blocks * index.block, index.bwt.dtype)
  bwt[: len(index)] = index.bwt
  return Substrings(
    jnp.asarray(bwt.reshape(blocks, index.block)),
    jnp.asarray(index.starts, jnp.int32),
    jnp.asarray(index.checkpoints, jnp.int32),
    end_token,
    always_end,
  )
