"""Sampling of tokens from a network, in memory that does not grow."""

import functools
from typing import Any
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import _validate
from jaxseq import nn
from jaxseq._types import PyTree
from jaxseq.tasks import language


class Prefix(NamedTuple):
  """What a network keeps of prompts that it has read.

  Attributes:
    logits: (*batch, vocab), of the token that follows each prompt.
    states: states after the prompts.
  """

  logits: jax.Array
  states: PyTree


def sample(
  key: jax.Array,
  logits: jax.Array,
  *,
  temperature: float = 1.0,
  top_k: int | None = None,
  top_p: float | None = None,
) -> jax.Array:
  """Draws one token from each row of logits.

  Args:
    key: random key.
    logits: (*batch, vocab).
    temperature: divides the logits; 0 takes the most probable token.
    top_k: only the k most probable tokens are drawn; all if None.
    top_p: only the smallest set of the most probable tokens whose probabilities
      sum to at least p is drawn from (arXiv:1904.09751); all if None.

  Returns:
    (*batch,) int32.

  Raises:
    ValueError: if an option is out of range.
  """
  _validate.number("temperature", temperature, 0)
  if top_k is not None:
    _validate.integer("top_k", top_k, 1, logits.shape[-1])
  if top_p is not None:
    _validate.fraction("top_p", top_p)
  if temperature == 0:
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)
  logits = logits / temperature
  if top_k is not None:
    least = lax.top_k(logits, top_k)[0][..., -1:]
    logits = jnp.where(logits < least, -jnp.inf, logits)
  if top_p is not None:
    ranked = jnp.sort(logits, axis=-1, descending=True)
    before = jnp.cumsum(jax.nn.softmax(ranked), axis=-1) - jax.nn.softmax(
      ranked
    )
    least = jnp.min(
      jnp.where(before < top_p, ranked, jnp.inf), axis=-1, keepdims=True
    )
    logits = jnp.where(logits < least, -jnp.inf, logits)
  return jax.random.categorical(key, logits, axis=-1).astype(jnp.int32)


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
  _check_stop(network, stop)
  prompt = _check_prompt(network, prompt)
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
  prompt = _check_prompt(network, prompt)
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
  _check_stop(network, stop)
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


def _check_stop(network, stop):
  """Checks a token against the vocabulary, where that is known."""
  known = getattr(network, "vocab_size", None)
  if stop is not None and known is not None:
    _validate.integer("stop", stop, 0, known - 1)


def _check_prompt(network, prompt):
  """Returns prompts as an array of tokens that the network knows."""
  if isinstance(prompt, list | tuple):
    if len(set(map(np.size, prompt))) > 1:
      raise _validate.error(
        "prompt",
        "rows of different lengths",
        "an array (*batch, time), with shorter prompts at the ends of their "
        "rows and `reset` at their first tokens",
      )
    prompt = np.asarray(prompt)
  if jnp.ndim(prompt) < 1 or prompt.shape[-1] == 0:
    shape = f"shape {jnp.shape(prompt)}"
    expected = "(*batch, time) with at least one token"
    raise _validate.error("prompt", shape, expected)
  count = getattr(network, "vocab_size", None)
  if count is None or isinstance(prompt, jax.core.Tracer):
    return prompt
  tokens = np.asarray(prompt)
  wrong = (tokens < 0) | (tokens >= count)
  if wrong.any():
    found = int(tokens[wrong][0])
    raise _validate.error("prompt", found, f"tokens from 0 to {count - 1}")
  return prompt


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
    sample, temperature=how.temperature, top_k=how.top_k, top_p=how.top_p
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


def continue_text(
  network: nn.SequenceNetwork,
  variables: PyTree,
  text: str,
  length: int,
  key: jax.Array,
  **options: Any,
) -> str:
  """Continues a text, byte by byte, with a network of bytes; see `generate`.

  The text stands at the beginning of a document, and may be empty.

  Returns:
    The text and what follows, with escapes for what could steer a terminal.
  """
  prompt = np.frombuffer(bytes([language.START]) + text.encode(), np.uint8)
  prompt = jnp.asarray(prompt, jnp.int32)
  tokens, _ = generate(network, variables, prompt, length, key, **options)
  written = bytes(np.asarray(tokens).astype(np.uint8))
  return text + "".join(
    c if c.isprintable() or c in "\n\t" else repr(c)[1:-1]
    for c in written.decode("utf-8", errors="replace")
  )
