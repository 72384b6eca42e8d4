"""Sampling of tokens from logits: temperature, truncations, penalties.

The steps have the order of the transformers library: biases, penalties, the
minimum length, temperature, top-k, top-p and min-p. All values are arrays,
optionally one for each row, so that rows with other options, and calls with
other values, share one compiled program.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
import math
from typing import Any
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.generation import _truncation


@dataclasses.dataclass(frozen=True)
class Sampling:
  """Options of drawing tokens.

  Attributes:
    temperature: divisor of the logits; 0 selects the most probable token.
    top_k: number of most probable tokens to draw from, at most the vocabulary;
      all if None.
    top_p: only the smallest set of the most probable tokens whose probabilities
      sum to at least p is drawn from (arXiv:1904.09751); all if None.
    min_p: only tokens of at least this share of the highest probability are
      drawn (arXiv:2407.01082); all if None.
    repetition_penalty: logits of tokens in the prompt or the generated tokens
      are divided by it if positive and multiplied if negative
      (arXiv:1909.05858, section 4.1).
    presence_penalty: number that is subtracted from the logits of generated
      tokens.
    frequency_penalty: number that is subtracted from the logit of a token once
      for each time that it was generated.
    min_length: minimum number of tokens of a row before one of `stop`.
    stop: tokens each of which ends a row; a number is a single token.
    logit_bias: numbers by tokens that are added to their logits, from -100 to
      100; stored as pairs.
  """

  _: dataclasses.KW_ONLY
  temperature: float = 1.0
  top_k: int | None = None
  top_p: float | None = None
  min_p: float | None = None
  repetition_penalty: float = 1.0
  presence_penalty: float = 0.0
  frequency_penalty: float = 0.0
  min_length: int = 0
  stop: int | tuple[int, ...] | None = ()
  logit_bias: Mapping[int, float] | tuple[tuple[int, float], ...] = ()

  def __post_init__(self):
    validate.number("temperature", self.temperature, 0)
    validate.fields(self, optional=("top_k",))
    if self.top_p is not None:
      validate.fraction("top_p", self.top_p)
    if self.min_p is not None:
      validate.number("min_p", self.min_p, 0, 1)
    validate.above_zero("repetition_penalty", self.repetition_penalty)
    validate.number("presence_penalty", self.presence_penalty)
    validate.number("frequency_penalty", self.frequency_penalty)
    validate.integer("min_length", self.min_length, 0)
    stop = () if self.stop is None else self.stop
    stop = stop if isinstance(stop, Sequence) else (stop,)
    for token in stop:
      validate.integer("stop", token, 0)
    object.__setattr__(self, "stop", tuple(map(int, stop)))
    biases = dict(self.logit_bias)
    for token, bias in biases.items():
      validate.integer("logit_bias", token, 0)
      validate.number(f"logit_bias of {token}", bias, -100, 100)
    biases = {int(token): float(bias) for token, bias in biases.items()}
    object.__setattr__(self, "logit_bias", tuple(sorted(biases.items())))

  @property
  def penalizes(self) -> bool:
    """True if tokens depend on earlier ones other than by the network."""
    penalties = self.presence_penalty, self.frequency_penalty
    return self.repetition_penalty != 1 or any(penalties)


class Controls(NamedTuple):
  """`Sampling` as arrays, for all rows together or one entry for each.

  Attributes:
    temperature: () or (*batch,) of JAX's floating type, like `top_p`, `min_p`
      and the penalties.
    top_k: () or (*batch,) int32, like `min_length`.
    top_p: infinite for no truncation.
    min_p: 0 for no truncation.
    repetition_penalty: see `Sampling`.
    presence_penalty: see `Sampling`.
    frequency_penalty: see `Sampling`.
    min_length: see `Sampling`.
    stop: (vocab,) or (*batch, vocab) bool, the tokens that end a row.
    bias: (vocab,) or (*batch, vocab), added to logits; or None.
  """

  temperature: jax.Array
  top_k: jax.Array
  top_p: jax.Array
  min_p: jax.Array
  repetition_penalty: jax.Array
  presence_penalty: jax.Array
  frequency_penalty: jax.Array
  min_length: jax.Array
  stop: jax.Array
  bias: jax.Array | None = None


class History(NamedTuple):
  """Tokens that a row holds.

  Attributes:
    prompt: (*batch, vocab) bool, the tokens of the prompts.
    counts: (*batch, vocab) int32, how often each was generated.
  """

  prompt: jax.Array
  counts: jax.Array


def from_options(options: Mapping[str, Any]) -> Sampling:
  """Returns options from names and values.

  Raises:
    ValueError: if there is no option of a name, or one is out of range.
  """
  names = [field.name for field in dataclasses.fields(Sampling)]
  for name in options:
    validate.choice("option", name, names)
  return Sampling(**options)


def make_controls(
  options: Sampling | Sequence[Sampling], vocab_size: int
) -> Controls:
  """Returns options as arrays of the host.

  Args:
    options: options of all rows, or one for each.
    vocab_size: number of tokens.

  Raises:
    ValueError: if a stop token, or one with a bias, is not in the vocabulary.
  """
  if not isinstance(options, Sampling):
    rows = [make_controls(each, vocab_size) for each in options]
    if any(row.bias is not None for row in rows):
      zeros = np.zeros(vocab_size, jnp.result_type(float))
      rows = [
        row._replace(bias=zeros) if row.bias is None else row for row in rows
      ]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
  for token in options.stop:
    validate.integer("stop", token, 0, vocab_size - 1)
  stop = np.zeros(vocab_size, bool)
  stop[list(options.stop)] = True
  real = jnp.result_type(float).type
  bias = np.zeros(vocab_size, real) if options.logit_bias else None
  for token, value in options.logit_bias:
    validate.integer("logit_bias", token, 0, vocab_size - 1)
    bias[token] = value
  top_p = options.top_p
  top_k = vocab_size if options.top_k is None else options.top_k
  return Controls(
    temperature=real(options.temperature),
    top_k=np.int32(min(top_k, vocab_size)),
    # Rounding may let probabilities sum to more than 1.
    top_p=real(math.inf if top_p in (None, 1) else top_p),
    min_p=real(options.min_p or 0),
    repetition_penalty=real(options.repetition_penalty),
    presence_penalty=real(options.presence_penalty),
    frequency_penalty=real(options.frequency_penalty),
    min_length=np.int32(min(options.min_length, np.iinfo(np.int32).max)),
    stop=stop,
    bias=bias,
  )


def unused_history(prompt: jax.Array) -> History:
  """Returns the history of tokens (*batch, vocab) bool that prompts hold."""
  return History(prompt, jnp.zeros(prompt.shape, jnp.int32))


def make_history(
  prompt: jax.Array, vocab_size: int, valid: jax.Array | None = None
) -> History:
  """Returns the history of rows that have only prompts.

  Args:
    prompt: (*batch, time) int tokens.
    vocab_size: number of tokens.
    valid: (*batch, time) bool, the tokens that count; all if None.
  """
  if valid is not None:
    # An index after the end is dropped.
    prompt = jnp.where(valid, prompt, vocab_size)
  flat = prompt.reshape(-1, prompt.shape[-1])
  seen = jnp.zeros((len(flat), vocab_size), bool)
  seen = seen.at[jnp.arange(len(flat))[:, None], flat].set(True, mode="drop")
  return unused_history(seen.reshape(*prompt.shape[:-1], vocab_size))


def extend_history(history: History, token: jax.Array) -> History:
  """Adds a generated token (*batch,) to each row."""
  counts = history.counts.reshape(-1, history.counts.shape[-1])
  rows = jnp.arange(len(counts))
  counts = counts.at[rows, token.reshape(-1)].add(1)
  return history._replace(counts=counts.reshape(history.counts.shape))


def process_logits(
  logits: jax.Array,
  controls: Controls,
  *,
  length: jax.Array | int = 0,
  history: History | None = None,
  allowed: jax.Array | None = None,
) -> jax.Array:
  """Applies all options to logits; excluded tokens become -inf.

  A temperature of 0 leaves the logits undivided, and the row's maximum is
  drawn.

  Args:
    logits: (*batch, vocab).
    controls: from `make_controls`.
    length: (*batch,) int, number of tokens that each row has generated.
    history: history of the rows; no penalties if None.
    allowed: (*batch, vocab) bool, tokens that may be drawn; at least one in
      each row. All if None.

  Returns:
    (*batch, vocab), unnormalized log probabilities.
  """
  if controls.bias is not None:
    logits = logits + jnp.asarray(controls.bias, logits.dtype)
  if allowed is not None:
    logits = jnp.where(allowed, logits, -jnp.inf)
  if history is not None:
    penalizes = (
      jnp.any(controls.repetition_penalty != 1)
      | jnp.any(controls.presence_penalty != 0)
      | jnp.any(controls.frequency_penalty != 0)
    )
    logits = lax.cond(
      penalizes, _penalized, _unchanged, logits, controls, history
    )
  early = jnp.asarray(length < controls.min_length)[..., None] & controls.stop
  left = jnp.where(early, -jnp.inf, logits)
  # If only an end token is allowed, the minimum length does not apply.
  possible = jnp.any(left > -jnp.inf, axis=-1, keepdims=True)
  logits = jnp.where(possible, left, logits)
  temperature = jnp.asarray(controls.temperature, logits.dtype)
  temperature = jnp.where(temperature == 0, 1, temperature)
  logits = logits / temperature[..., None]
  truncates = (
    jnp.any(controls.top_k < logits.shape[-1])
    | jnp.any(controls.top_p < jnp.inf)
    | jnp.any(controls.min_p > 0)
  )
  # The logits are sorted only if some row needs it.
  return lax.cond(
    truncates, _truncation.truncated, _unchanged, logits, controls
  )


def draw(
  keys: jax.Array,
  logits: jax.Array,
  temperature: jax.Array,
  sharing: np.ndarray | None = None,
) -> jax.Array:
  """Draws a token from each row of processed logits.

  Args:
    keys: (*batch,) random keys, one for each row; or one for all together.
    logits: (*batch, vocab), from `process_logits`.
    temperature: () or (*batch,); if it is 0 the maximum is selected.
    sharing: (n,) number of the key of each entry of the last batch axis, if
      keys are (*outer, m) and the batch is (*outer, n); a separate key for each
      if None.

  Returns:
    (*batch,) int32.
  """
  greedy = jnp.broadcast_to(temperature == 0, logits.shape[:-1])

  def drawn(keys, logits):
    # Like `jax.random.categorical`, with noise computed once for each key.
    shape = logits.shape[-1 if sharing is not None else keys.ndim :]
    gumbel = functools.partial(
      jax.random.gumbel, shape=shape, dtype=logits.dtype
    )
    for _ in range(keys.ndim):
      gumbel = jax.vmap(gumbel)
    noise = gumbel(keys)
    if sharing is not None:
      noise = jnp.take(noise, sharing, axis=-2)
    return most_probable(jnp.where(greedy[..., None], logits, noise + logits))

  return lax.cond(
    jnp.all(greedy),
    lambda keys, logits: most_probable(logits),
    drawn,
    keys,
    logits,
  )


def most_probable(logits: jax.Array) -> jax.Array:
  """Returns the token of the largest logit; of equal ones, the lowest.

  XLA compiles this form for a CPU to several times the speed of its argmax.

  Args:
    logits: (*batch, vocab), without NaN.

  Returns:
    (*batch,) int32.
  """
  size = logits.shape[-1]
  tokens = lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)
  largest = logits == jnp.max(logits, axis=-1, keepdims=True)
  return jnp.min(jnp.where(largest, tokens, size - 1), axis=-1)


def row_keys(
  key: jax.Array, seeds: jax.Array, continuation: jax.Array | int = 0
) -> jax.Array:
  """Returns an independent random key for each row.

  A row's tokens are drawn by this key folded by the number of the token, so
  that they are the same in any batch.

  Args:
    key: key of all rows.
    seeds: (*batch,) integers; their last 32 bits are used.
    continuation: (*batch,) integers, number of a row's continuation.

  Raises:
    ValueError: unless the key is one key and seeds are integers.
  """
  _check_key(key)
  if not isinstance(seeds, jax.Array):
    seeds = np.asarray(seeds)
  if not jnp.issubdtype(seeds.dtype, jnp.integer):
    raise validate.error("seeds", f"dtype {seeds.dtype}", "integers")
  seeds, continuation = jnp.broadcast_arrays(
    seeds.astype(jnp.uint32), jnp.asarray(continuation, jnp.uint32)
  )
  return _row_keys(key, seeds, continuation)


def fold(keys: jax.Array, numbers: jax.Array | int) -> jax.Array:
  """Folds a number into each of (*batch,) keys."""
  folded = jax.random.fold_in
  for _ in range(keys.ndim):
    folded = jax.vmap(folded)
  return folded(keys, jnp.broadcast_to(numbers, keys.shape))


def sample(key: jax.Array, logits: jax.Array, **options: Any) -> jax.Array:
  """Draws one token from each row of logits.

  Args:
    key: random key, or (*batch,) keys, one for each row.
    logits: (*batch, vocab).
    **options: fields of `Sampling`; penalties and lengths have no effect, as
      there is no history.

  Returns:
    (*batch,) int32.

  Raises:
    ValueError: if an option is out of range.
  """
  sampling = from_options(options)
  if sampling.top_k is not None:
    validate.integer("top_k", sampling.top_k, 1, logits.shape[-1])
  controls = make_controls(sampling, logits.shape[-1])
  controls = jax.tree.map(jnp.asarray, controls)
  return draw(key, process_logits(logits, controls), controls.temperature)


def _check_key(key):
  """Rejects a value that is not one random key."""
  expected = "one random key: jax.random.key(0)"
  validate.instance("key", key, jax.Array, expected)
  if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.ndim:
    got = f"dtype {key.dtype}, shape {key.shape}"
    raise validate.error("key", got, expected)


@jax.jit
def _row_keys(key, seeds, continuation):
  """Compiled part of `row_keys`: its steps take a millisecond each."""
  return fold(fold(jnp.broadcast_to(key, seeds.shape), seeds), continuation)


def _unchanged(logits, *unused):
  """Returns the logits unchanged."""
  del unused
  return logits


def _penalized(logits, controls, history):
  """Applies the penalties for the tokens of the rows to logits."""
  generated = history.counts > 0
  penalty, presence, frequency = (
    jnp.asarray(value, logits.dtype)[..., None]
    for value in (
      controls.repetition_penalty,
      controls.presence_penalty,
      controls.frequency_penalty,
    )
  )
  repeated = jnp.where(logits < 0, logits * penalty, logits / penalty)
  logits = jnp.where(history.prompt | generated, repeated, logits)
  return logits - presence * generated - frequency * history.counts
