"""Generation of whole batches of tokens in one compiled program.

A network's memory of a text is in its states, whose size does not grow.
"""

from collections.abc import Sequence
import functools
from typing import Any
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import nn
from jaxseq import validate
from jaxseq.generation import _drawing
from jaxseq.generation import _network_checks
from jaxseq.generation import _prompts
from jaxseq.generation import _row_states
from jaxseq.generation import _thin_states
from jaxseq.generation import constraints
from jaxseq.generation import token_sampling
from jaxseq.types import PyTree
from jaxseq.types import TokenNetwork


class Prefix(NamedTuple):
  """State of a network after prompts that it has read.

  Attributes:
    logits: (*batch, vocab), of the token that follows each prompt.
    states: states after the prompts.
    seen: (*batch, vocab) bool, the tokens of the prompts.
  """

  logits: jax.Array
  states: PyTree
  seen: jax.Array


class Rollouts(NamedTuple):
  """Answers to prompts, and the network's log probabilities.

  Attributes:
    tokens: (*batch, length) int32.
    log_probs: (*batch, length), by the network.
    mask: (*batch, length) bool, the tokens of the answers: up to and including
      the first stop token.
  """

  tokens: jax.Array
  log_probs: jax.Array
  mask: jax.Array


def generate(
  network: TokenNetwork,
  variables: PyTree,
  prompt: jax.Array | Sequence[Any],
  length: int,
  key: jax.Array,
  *,
  states: PyTree = None,
  lengths: jax.Array | None = None,
  reset: jax.Array | None = None,
  seeds: jax.Array | None = None,
  sampling: token_sampling.Sampling
  | Sequence[token_sampling.Sampling]
  | None = None,
  constraint: constraints.Constraint | None = None,
  key_channels: float = 1.0,
  whole_keys: int = 128,
  **options: Any,
) -> tuple[jax.Array, PyTree]:
  """Continues prompts, token by token.

  The prompts are read in one pass, and the states carry the memory of them and
  of the generated tokens. Calls with the same network and shapes share one
  compiled program, whatever their options:

      tokens, states = generate(
        network, variables, [[5, 2], [7, 1, 3]], 20, key, temperature=0.8
      )

  Prompts of different lengths are a list, or are at the starts of their rows,
  with `lengths`; or at the ends of their rows, with any tokens before them and
  `reset` at the first token of each. All three give the same results as each
  prompt alone.

  A row's tokens are drawn by `key` folded by the row's seed and the number of
  the token, so that they do not depend on the other rows.

  Args:
    network: a `SequenceNetwork` of tokens that does not pool, or a hashable
      object with the same `apply`.
    variables: of the network.
    prompt: (*batch, time) int tokens, at least one; or a list of arrays.
    length: number of tokens to generate, at least 1.
    key: random key.
    states: states before the prompt; fresh ones if None.
    lengths: (*batch,) integers, number of prompt tokens of each row.
    reset: (*batch, time) bool; if true, the states are fresh before that token
      of the prompt.
    seeds: (*batch,) integers; 0, 1, .. if None.
    sampling: how tokens are drawn, for all rows or a list of one for each.
      `stop` ends a row: all later tokens of the row are the stop token, too.
    constraint: constraint of the drawn tokens; all are allowed if None.
    key_channels: share of the channels of keys that attention keeps of the
      prompt, see `EngineConfig`.
    whole_keys: number of the last keys that have room for all channels, see
      `EngineConfig`.
    **options: fields of `Sampling` instead of `sampling`.

  Returns:
    The generated tokens (*batch, length) int32, and the states after all of
    them but the last.

  Raises:
    ValueError: if a prompt is empty, has a token outside of the network's
      vocabulary, or an option is out of range.
  """
  validate.integer("length", length, 1)
  vocab_size = _network_checks.vocab_size(network, variables)
  prompts = _prompts.make_prompts(network, prompt, lengths, reset, states)
  constraints.check(constraint, vocab_size)
  batch_shape = prompts.tokens.shape[:-1]
  controls, penalizes = _prompts.controls(
    vocab_size, options, sampling, batch_shape
  )
  keys = _prompts.row_keys(key, seeds, batch_shape)
  thinning = _thin_states.parse(key_channels, whole_keys)
  arguments = variables, prompts, states, keys, controls, constraint
  return _generate(network, length, penalizes, None, thinning, *arguments)[:2]


def rollouts(
  network: TokenNetwork,
  variables: PyTree,
  prompt: jax.Array | Sequence[Any],
  length: int,
  key: jax.Array,
  *,
  lengths: jax.Array | None = None,
  seeds: jax.Array | None = None,
  stop: int | Sequence[int] = (),
) -> Rollouts:
  """Draws answers from the network's own distribution, to learn from them.

  The tokens are those of `generate` without options, as only then tokens are
  drawn from the network's own distribution. Their log-probabilities are those
  that `network.apply` gives them in training, to rounding, although it reads
  prompts and answers in one pass: they can be the `old_log_probs` of policy
  gradients (`tasks.group_policy`) without another pass.

  Args:
    network: as in `generate`.
    variables: of the network.
    prompt: as in `generate`.
    length: maximum number of tokens of an answer.
    key: random key.
    lengths: as in `generate`.
    seeds: as in `generate`.
    stop: tokens each of which ends an answer.

  Raises:
    ValueError: as in `generate`.
  """
  validate.integer("length", length, 1)
  vocab_size = _network_checks.vocab_size(network, variables)
  prompts = _prompts.make_prompts(network, prompt, lengths, None, None)
  batch_shape = prompts.tokens.shape[:-1]
  options = {"stop": stop}
  controls, _ = _prompts.controls(vocab_size, options, None, batch_shape)
  keys = _prompts.row_keys(key, seeds, batch_shape)
  arguments = variables, prompts, None, keys, controls, None
  tokens, _, log_probs, mask = _generate(
    network, length, False, None, None, *arguments
  )
  return Rollouts(tokens, log_probs, mask)


def read_prefix(
  network: TokenNetwork,
  variables: PyTree,
  prompt: jax.Array | Sequence[object],
  *,
  states: PyTree = None,
  lengths: jax.Array | None = None,
  reset: jax.Array | None = None,
  key_channels: float = 1.0,
  whole_keys: int = 128,
) -> Prefix:
  """Reads prompts once, for any number of continuations.

  Args:
    network: as in `generate`.
    variables: of the network.
    prompt: as in `generate`.
    states: states before the prompts; fresh ones if None.
    lengths: as in `generate`.
    reset: as in `generate`.
    key_channels: as in `generate`.
    whole_keys: as in `generate`.

  Returns:
    The prefix, for `continue_prefix`.

  Raises:
    ValueError: as in `generate`.
  """
  _network_checks.vocab_size(network, variables)
  prompts = _prompts.make_prompts(network, prompt, lengths, reset, states)
  thinning = _thin_states.parse(key_channels, whole_keys)
  return _read(network, thinning, variables, prompts, states)


def continue_prefix(
  network: TokenNetwork,
  variables: PyTree,
  prefix: Prefix,
  length: int,
  key: jax.Array,
  *,
  count: int | None = None,
  seeds: jax.Array | None = None,
  sampling: token_sampling.Sampling
  | Sequence[token_sampling.Sampling]
  | None = None,
  constraint: constraints.Constraint | None = None,
  **options: Any,
) -> tuple[jax.Array, PyTree]:
  """Continues prompts that were read; `generate` without reading them again.

      prefix = read_prefix(network, variables, prompt)
      tokens, _ = continue_prefix(network, variables, prefix, 20, key, count=8)

  Args:
    network: as in `generate`.
    variables: of the network.
    prefix: from `read_prefix`; it can be used any number of times.
    length: number of tokens to generate, at least 1.
    key: random key.
    count: number of independent continuations of each prompt; None for one
      without a separate axis, which is the first of many.
    seeds: as in `generate`.
    sampling: as in `generate`.
    constraint: as in `generate`.
    **options: as in `generate`.

  Returns:
    The generated tokens (*batch, length) int32, or (count, *batch, length), and
    the states after all of them but the last.

  Raises:
    ValueError: if an option is out of range.
  """
  validate.integer("length", length, 1)
  if count is not None:
    validate.integer("count", count, 1)
  *batch_shape, vocab_size = prefix.logits.shape
  constraints.check(constraint, vocab_size)
  controls, penalizes = _prompts.controls(
    vocab_size, options, sampling, tuple(batch_shape)
  )
  keys = _prompts.row_keys(key, seeds, tuple(batch_shape), count)
  arguments = variables, prefix, None, keys, controls, constraint
  return _generate(network, length, penalizes, count, None, *arguments)[:2]


def _after(network, thinning, variables, prompts, states):
  """Returns logits after prompts, the states, and the tokens that were read."""
  tokens, reset = prompts
  if thinning is not None:
    if states is None:
      rows = tokens.shape[:-1]
      states = _row_states.fresh_states(network, variables, *rows)
    states = thinning.observed(network, variables, states, reset)
  options = {}
  if isinstance(network, nn.SequenceNetwork):
    # The logits of a long prompt and many tokens may not fit in memory.
    last = (*tokens.shape[:-1], 1)
    options["at"] = jnp.full(last, tokens.shape[-1] - 1)
  arguments = variables, tokens, states, reset
  logits, states = _row_states.read(network, *arguments, **options)
  if thinning is not None:
    states = thinning.thin(states)
  seen = _prompts.make_history(prompts, logits.shape[-1]).prompt
  return Prefix(logits[..., -1, :], states, seen)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _generate(
  network,
  length,
  penalizes,
  count,
  thinning,
  variables,
  source,
  states,
  keys,
  controls,
  constraint,
):
  """Compiled part of `generate`, or, after a prefix, of `continue_prefix`."""
  if not isinstance(source, Prefix):
    source = _after(network, thinning, variables, source, states)
  if count is not None:
    source = jax.tree.map(
      lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), source
    )
  history = token_sampling.unused_history(source.seen) if penalizes else None
  draw = functools.partial(_drawing.next_token, constraint, controls)
  rows, log_prob = draw(
    _drawing.start(keys, history, constraint), source.logits
  )
  first = rows.token, log_prob, jnp.ones(rows.ended.shape, bool)

  def body(carry, _):
    rows, states = carry
    goes_on = ~rows.ended
    logits, states = network.apply(variables, rows.token, states, method="step")
    rows, log_prob = draw(rows, logits)
    return (rows, states), (rows.token, log_prob, goes_on)

  (_, states), rest = lax.scan(body, (rows, source.states), length=length - 1)
  tokens, log_probs, mask = (
    jnp.moveaxis(jnp.concatenate([one[None], others], axis=0), 0, -1)
    for one, others in zip(first, rest, strict=True)
  )
  return tokens, states, log_probs, mask


# The compiled part of `read_prefix`.
_read = functools.partial(jax.jit, static_argnums=(0, 1))(_after)
