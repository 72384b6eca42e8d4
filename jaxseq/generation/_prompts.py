"""Prompts as arrays: checks, and rows of different lengths."""

from collections.abc import Sequence
import math
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.generation import token_sampling
from jaxseq.types import PyTree
from jaxseq.types import TokenNetwork


class Prompts(NamedTuple):
  """Prompts at the ends of their rows."""

  tokens: Any  # (*batch, time) integers.
  # (*batch, time) bool, true at the first token of a prompt after other tokens;
  # None if there are no other tokens.
  reset: Any


def make_prompts(
  network: TokenNetwork,
  prompt: Any,
  lengths: object,
  reset: Any,
  states: PyTree,
) -> Prompts:
  """Returns prompts as an array of tokens that the network knows."""
  check_no_text(prompt)
  if isinstance(prompt, list | tuple):
    for row in prompt:
      check_no_text(row)
    ragged = len(set(map(np.size, prompt))) > 1
    if ragged and all(np.ndim(row) == 1 for row in prompt):
      _unfit("prompt", "rows of different lengths", lengths, reset)
      lengths = np.array([len(row) for row in prompt])
      kinds = [np.asarray(row).dtype for row in prompt if np.size(row)]
      shape = len(prompt), max(lengths)
      rows = np.zeros(shape, np.result_type(*kinds))
      for row, tokens in zip(rows, prompt):
        row[: len(tokens)] = tokens
      prompt = rows
    else:
      prompt = np.asarray(prompt)
  if jnp.ndim(prompt) < 1 or prompt.shape[-1] == 0:
    shape = f"shape {jnp.shape(prompt)}"
    expected = "(*batch, time) with at least one token"
    raise validate.error("prompt", shape, expected)
  if not jnp.issubdtype(prompt.dtype, jnp.integer):
    raise validate.error("prompt", f"dtype {prompt.dtype}", "integer tokens")
  if lengths is not None:
    _unfit("lengths", "lengths", None, reset)
    if states is not None:
      expected = (
        "None with prompts of different lengths: each row starts from the "
        "fresh state"
      )
      raise validate.error("states", type(states), expected)
    prompt, reset = _at_ends(prompt, lengths)
  check_tokens(network, prompt)
  return Prompts(prompt, reset)


def check_no_text(prompt: Any) -> None:
  """Rejects a text instead of tokens."""
  if isinstance(prompt, str | bytes):
    kind = type(prompt).__name__
    raise validate.error("prompt", kind, "tokens: Codec().encode(text)")


def one_way(sampling: object, options: dict[str, object]) -> Any:
  """Returns `sampling`, or one from options by name if it is None."""
  if sampling is None:
    return token_sampling.from_options(options)
  if options:
    expected = f"None with other options ({', '.join(options)})"
    raise validate.error("sampling", sampling, expected)
  return sampling


def check_sampling(sampling: object) -> None:
  """Rejects a value that is not a `Sampling`."""
  kind = token_sampling.Sampling
  validate.instance("sampling", sampling, kind, "Sampling(temperature=0.8)")


def check_tokens(network: TokenNetwork, tokens: Any) -> None:
  """Checks tokens against the vocabulary, if both are known."""
  count = getattr(network, "vocab_size", None)
  if count is None or isinstance(tokens, jax.core.Tracer):
    return
  tokens = np.asarray(tokens)
  wrong = (tokens < 0) | (tokens >= count)
  if wrong.any():
    token = int(tokens[wrong][0])
    raise validate.error("prompt", token, f"tokens from 0 to {count - 1}")


def make_history(prompts: Prompts, vocab_size: int) -> token_sampling.History:
  """Returns the tokens of prompts, without tokens before their resets."""
  valid = None
  if prompts.reset is not None:
    resets = jnp.cumsum(prompts.reset, axis=-1)
    valid = resets == resets[..., -1:]
  return token_sampling.make_history(
    jnp.asarray(prompts.tokens), vocab_size, valid
  )


def controls(
  vocab_size: int,
  options: dict[str, Any],
  sampling: token_sampling.Sampling | Sequence[token_sampling.Sampling] | None,
  batch_shape: tuple[int, ...],
) -> tuple[token_sampling.Controls, bool]:
  """Returns options as arrays, and whether some are penalties."""
  sampling = one_way(sampling, options)
  rows = [sampling]
  if not isinstance(sampling, token_sampling.Sampling):
    rows = list(sampling) if isinstance(sampling, Sequence) else [sampling]
    for one in rows:
      check_sampling(one)
    if batch_shape != (len(rows),):
      got = f"{len(rows)} for prompts of shape {batch_shape}"
      raise validate.error("sampling", got, "one, or one for each prompt")
  for one in rows:
    if one.top_k is not None:
      validate.integer("top_k", one.top_k, 1, vocab_size)
  result = token_sampling.make_controls(sampling, vocab_size)
  return result, any(one.penalizes for one in rows)


def row_keys(
  key: jax.Array,
  seeds: Any,
  batch_shape: tuple[int, ...],
  count: int | None = None,
) -> jax.Array:
  """Returns keys of rows, or (count, *batch) of continuations of each."""
  if seeds is None:
    seeds = np.arange(math.prod(batch_shape)).reshape(batch_shape)
  else:
    validate.shape("seeds", seeds, batch_shape)
  if count is None:
    return token_sampling.row_keys(key, seeds)
  numbers = np.arange(count).reshape(count, *[1] * len(batch_shape))
  return token_sampling.row_keys(key, seeds, numbers)


def _unfit(name, got, lengths, reset):
  """Rejects arguments that specify the prompts' starts twice."""
  for other, value in {"lengths": lengths, "reset": reset}.items():
    if value is not None:
      expected = f"rows of one length with `{other}`"
      raise ValueError(f"{name}: got {got} and {other}, expected {expected}.")


def _at_ends(prompt, lengths):
  """Moves prompts to the ends of their rows; returns them and their resets."""
  time = prompt.shape[-1]
  validate.shape("lengths", lengths, prompt.shape[:-1])
  if not isinstance(lengths, jax.core.Tracer):
    lengths = np.asarray(lengths)
    wrong = (lengths < 1) | (lengths > time)
    if wrong.any():
      length = int(lengths[wrong][0])
      raise validate.error("lengths", length, f"integers from 1 to {time}")
  first = time - lengths[..., None]
  places = np.arange(time)
  index = jnp.maximum(places - first, 0)
  rows = jnp.take_along_axis(jnp.asarray(prompt), index, axis=-1)
  return rows, places == first
