"""Prompts that a network reads more than once.

A network with a state must decide what to remember of a text before it knows
the question. At the second reading it knows it: Arora et al., "Just read
twice", arXiv:2407.05483, section 3.
"""

from collections.abc import Sequence

import numpy as np

from jaxseq import validate


def repeat(
  context: bytes | np.ndarray, question: bytes | np.ndarray, times: int = 2
) -> np.ndarray:
  """Returns context and question repeated in turn: the prompt "JRT".

  Args:
    context: bytes, or (n,) integer tokens.
    question: bytes, or (m,) integer tokens.
    times: number of repetitions of the two.

  Returns:
    (times * (n + m),) tokens, uint8 for bytes. An answer follows.

  Raises:
    ValueError: if an argument is of another type, or `times` is not positive.
  """
  validate.positive("times", times)
  parts = [_tokens("context", context), _tokens("question", question)]
  return np.concatenate(parts * times)


def repeat_documents(
  documents: Sequence[bytes | np.ndarray], times: int = 2
) -> list[np.ndarray]:
  """Returns documents that are each repeated as a whole.

  Args:
    documents: bytes, or (n,) integer tokens each.
    times: number of repetitions.

  Returns:
    An array of tokens for each document.

  Raises:
    ValueError: as in `repeat`.
  """
  validate.positive("times", times)
  return [np.tile(_tokens("documents", each), times) for each in documents]


def _tokens(name, text):
  """Converts bytes or tokens to an array (n,)."""
  if isinstance(text, bytes):
    return np.frombuffer(text, np.uint8)
  text = np.asarray(text)
  if text.ndim != 1 or not np.issubdtype(text.dtype, np.integer):
    got = f"dtype {text.dtype}, shape {text.shape}"
    raise validate.error(name, got, "bytes, or integer tokens (n,)")
  return text
