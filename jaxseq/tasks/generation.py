"""Sampling of tokens from a network, in memory that does not grow."""

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
  temperature: float = 1.0,
  top_k: int | None = None,
  top_p: float | None = None,
) -> tuple[jax.Array, PyTree]:
  """Continues a prompt, token by token.

  The prompt is read at once, and the states carry all that is remembered of it
  and of what has been generated.

  Args:
    network: a `SequenceNetwork` of tokens that does not pool, or anything with
      the same `apply`.
    variables: of the network.
    prompt: (*batch, time) int tokens, at least one.
    length: number of tokens to generate, at least 1.
    key: random key.
    states: states before the prompt; fresh ones if None.
    temperature: see `sample`, as for the other options.
    top_k: see `sample`.
    top_p: see `sample`.

  Returns:
    The generated tokens (*batch, length) int32, and the states after all of
    them but the last.

  Raises:
    ValueError: if the prompt is empty or an option is out of range.
  """
  if jnp.ndim(prompt) < 1 or prompt.shape[-1] == 0:
    shape = f"shape {jnp.shape(prompt)}"
    expected = "(*batch, time) with at least one token"
    raise _validate.error("prompt", shape, expected)
  _validate.integer("length", length, 1)

  options = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
  logits, states = network.apply(variables, prompt, states)
  keys = jax.random.split(key, length)
  first = sample(keys[0], logits[..., -1, :], **options)

  def body(carry, key):
    token, states = carry
    logits, states = network.apply(variables, token, states, method="step")
    token = sample(key, logits, **options)
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
  tokens, _ = jax.jit(
    lambda variables, prompt, key: generate(
      network, variables, prompt, length, key, **options
    )
  )(variables, jnp.asarray(prompt, jnp.int32), key)
  written = bytes(np.asarray(tokens).astype(np.uint8))
  return text + "".join(
    c if c.isprintable() or c in "\n\t" else repr(c)[1:-1]
    for c in written.decode("utf-8", errors="replace")
  )
