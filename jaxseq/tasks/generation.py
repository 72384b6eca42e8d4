"""Sampling of tokens from a network, in memory that does not grow."""

import functools
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import _validate
from jaxseq import nn
from jaxseq._types import PyTree
from jaxseq.tasks import language


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
  _check_tokens(network, prompt, stop)
  _validate.integer("length", length, 1)
  # Values that are static arguments of a program.
  return _generate(
    network,
    length,
    stop,
    float(temperature),
    top_k,
    None if top_p is None else float(top_p),
    variables,
    prompt,
    key,
    states,
    reset,
  )


def _check_tokens(network, prompt, stop):
  """Checks tokens against the network's vocabulary, where both are known."""
  count = getattr(network, "vocab_size", None)
  if count is None:
    return
  if stop is not None:
    _validate.integer("stop", stop, 0, count - 1)
  if isinstance(prompt, jax.core.Tracer):
    return
  tokens = np.asarray(prompt)
  wrong = (tokens < 0) | (tokens >= count)
  if wrong.any():
    found = int(tokens[wrong][0])
    raise _validate.error("prompt", found, f"tokens from 0 to {count - 1}")


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4, 5))
def _generate(
  network,
  length,
  stop,
  temperature,
  top_k,
  top_p,
  variables,
  prompt,
  key,
  states,
  reset,
):
  """The compiled part of `generate`."""
  draw = functools.partial(
    sample, temperature=temperature, top_k=top_k, top_p=top_p
  )
  if reset is None:
    logits, states = network.apply(variables, prompt, states)
  else:
    logits, states = network.apply(variables, prompt, states, reset)
  keys = jax.random.split(key, length)
  first = draw(keys[0], logits[..., -1, :])

  def body(carry, key):
    last, states = carry
    logits, states = network.apply(variables, last, states, method="step")
    token = draw(key, logits)
    if stop is not None:
      token = jnp.where(last == stop, stop, token)
    return (token, states), token

  (_, states), rest = lax.scan(body, (first, states), keys[1:])
  tokens = jnp.concatenate([first[None], rest], axis=0)
  return jnp.moveaxis(tokens, 0, -1), states


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
