"""Texts that a network of bytes goes on with."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import nn
from jaxseq._types import PyTree
from jaxseq.data import text_tokens
from jaxseq.generation import offline


def continue_text(
  network: nn.SequenceNetwork,
  variables: PyTree,
  text: str,
  length: int,
  key: jax.Array,
  **options: Any,
) -> str:
  """Continues a text with a network of bytes; see `generation.generate`.

  The text stands at the beginning of a document, and may be empty.

  Returns:
    The text and what follows, with escapes for what could steer a terminal.
  """
  prompt = np.frombuffer(bytes([text_tokens.START]) + text.encode(), np.uint8)
  prompt = jnp.asarray(prompt, jnp.int32)
  tokens, _ = offline.generate(
    network, variables, prompt, length, key, **options
  )
  written = bytes(np.asarray(tokens).astype(np.uint8))
  return text + "".join(
    c if c.isprintable() or c in "\n\t" else repr(c)[1:-1]
    for c in written.decode("utf-8", errors="replace")
  )
