"""Generation of whole batches of tokens in one compiled program.

What a network remembers of a text lies in its states, whose size does not grow.
"""

import functools
from typing import Any
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jaxseq import _validate
from jaxseq import nn
from jaxseq._types import PyTree
from jaxseq.generation import _prompts
from jaxseq.generation import token_sampling


class Prefix(NamedTuple):
  """What a network keeps of prompts that it has read.

  Attributes:
    logits: (*batch, vocab), of the token that follows each prompt.
    states: states after the prompts.
  """

  logits: jax.Array
  states: PyTree


def generate(
  network: Any,
  variables: PyTree,
  prompt: jax.Array,
  length: int,
  key: jax.Array,
  *,
  states: PyTree = None,
  reset: jax.Array | None = None,
  stop: int | None = None,
  temperature: float = 1.0,
  top_k: int | None = None,
  top_p: float | None = None,
) -> tuple[jax.Array, PyTree]:
  """Continues a prompt, token by token.

  The prompt is read at once, and the states carry all that is remembered of it
  and of what has been generated. Calls with the same network, shapes and
  options share one compiled program.

  Prompts of different lengths lie at the ends of their rows, with any tokens
  before them; `reset` at the first token of each takes these out:

      prompts = [[5, 2], [7, 1, 3]]
      rows = jnp.array([[0, 5, 2], [7, 1, 3]])
      reset = jnp.array([[0, 1, 0], [1, 0, 0]], bool)

  Args:
    network: a `SequenceNetwork` of tokens that does not pool, or anything
      hashable with the same `apply`.
    variables: of the network.
    prompt: (*batch, time) int tokens, at least one.
    length: number of tokens to generate, at least 1.
    key: random key.
    states: states before the prompt; fresh ones if None.
    reset: (*batch, time) bool; where true the states are fresh before that
      token of the prompt.
    stop: token that ends a row: all that follow it in the row are `stop` too.
      None for none.
    temperature: see `sample`, as for the other options.
    top_k: see `sample`.
    top_p: see `sample`.

  Returns:
    The generated tokens (*batch, length) int32, and the states after all of
    them but the last.

  Raises:
    ValueError: if the prompt is empty, holds a token that the network does not
      know, or an option is out of range.
  """
  how = _options(length, temperature, top_k, top_p)
  _prompts.check_stop(network, stop)
  prompt = _prompts.check_prompt(network, prompt)
  arguments = variables, prompt, key, states, reset
  return _generate(network, stop, how, *arguments)


def read_prefix(
  network: Any,
  variables: PyTree,
  prompt: jax.Array,
  *,
  states: PyTree = None,
  reset: jax.Array | None = None,
) -> Prefix:
  """Reads prompts once, for any number of continuations.

  Args:
    network: as in `generate`.
    variables: of the network.
    prompt: (*batch, time) int tokens, at least one.
    states: states before the prompts; fresh ones if None.
    reset: as in `generate`.

  Returns:
    What `continue_prefix` goes on from.

  Raises:
    ValueError: as in `generate`.
  """
  prompt = _prompts.check_prompt(network, prompt)
  return _read(network, variables, prompt, states, reset)


def continue_prefix(
  network: Any,
  variables: PyTree,
  prefix: Prefix,
  length: int,
  key: jax.Array,
  *,
  count: int | None = None,
  stop: int | None = None,
  temperature: float = 1.0,
  top_k: int | None = None,
  top_p: float | None = None,
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
    count: number of continuations of each prompt, which are drawn one
      independently of the other; None for one without an axis of its own.
    stop: as in `generate`, as for the other options.
    temperature: see `sample`.
    top_k: see `sample`.
    top_p: see `sample`.

  Returns:
    The generated tokens (*batch, length) int32, or (count, *batch, length), and
    the states after all of them but the last.

  Raises:
    ValueError: if an option is out of range.
  """
  how = _options(length, temperature, top_k, top_p)
  _prompts.check_stop(network, stop)
  if count is not None:
    _validate.integer("count", count, 1)
  return _continue(network, stop, how, count, variables, prefix, key)


class _Options(NamedTuple):
  """Options of a program, which is compiled anew for others."""

  length: int
  temperature: float
  top_k: int | None
  top_p: float | None


def _options(length, temperature, top_k, top_p):
  _validate.integer("length", length, 1)
  top_p = None if top_p is None else float(top_p)
  return _Options(length, float(temperature), top_k, top_p)


def _after(network, variables, prompt, states, reset):
  """Logits after prompts, and the states."""
  options = {}
  if isinstance(network, nn.SequenceNetwork):
    # The logits of a long prompt and many tokens may not fit in memory.
    last = (*prompt.shape[:-1], 1)
    options["at"] = jnp.full(last, prompt.shape[-1] - 1)
  if reset is not None:
    options["reset"] = reset
  logits, states = network.apply(variables, prompt, states, **options)
  return Prefix(logits[..., -1, :], states)


def _drawn(network, stop, how, variables, prefix, key):
  """Tokens one after the other, and the states after all but the last."""
  draw = functools.partial(
    token_sampling.sample,
    temperature=how.temperature,
    top_k=how.top_k,
    top_p=how.top_p,
  )
  keys = jax.random.split(key, how.length)
  first = draw(keys[0], prefix.logits)

  def body(carry, key):
    last, states = carry
    logits, states = network.apply(variables, last, states, method="step")
    token = draw(key, logits)
    if stop is not None:
      token = jnp.where(last == stop, stop, token)
    return (token, states), token

  (_, states), rest = lax.scan(body, (first, prefix.states), keys[1:])
  tokens = jnp.concatenate([first[None], rest], axis=0)
  return jnp.moveaxis(tokens, 0, -1), states


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _generate(network, stop, how, variables, prompt, key, states, reset):
  """The compiled part of `generate`."""
  prefix = _after(network, variables, prompt, states, reset)
  return _drawn(network, stop, how, variables, prefix, key)


# The compiled part of `read_prefix`.
_read = functools.partial(jax.jit, static_argnums=0)(_after)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _continue(network, stop, how, count, variables, prefix, key):
  """The compiled part of `continue_prefix`."""
  if count is not None:
    prefix = jax.tree.map(
      lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), prefix
    )
  return _drawn(network, stop, how, variables, prefix, key)
