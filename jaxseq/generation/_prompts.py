"""Checks of prompts and of the tokens that end a row."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import _validate


def check_stop(network, stop):
  """Checks a token against the vocabulary, where that is known."""
  known = getattr(network, "vocab_size", None)
  if stop is not None and known is not None:
    _validate.integer("stop", stop, 0, known - 1)


def check_prompt(network, prompt):
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
