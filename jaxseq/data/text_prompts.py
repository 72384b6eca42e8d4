"""Prompts that a network reads more than once.

A network with a state must decide what to keep of a text before it knows what
it will be asked. The second time it knows: Arora et al., "Just read twice",
arXiv:2407.05483, section 3.
"""

from collections.abc import Sequence

import numpy as np

from jaxseq import _validate


def repeat(
  context: bytes | np.ndarray, question: bytes | np.ndarray, times: int = 2
) -> np.ndarray:
  """Returns context and question, again and again: the prompt "JRT".

  Args:
    context: bytes, or (n,) integer tokens.
    question: likewise.
    times: how often the two follow each other.

  Returns:
    (times * (n + m),) tokens, uint8 of bytes. An answer follows.

  Raises:
    ValueError: if something else came, or `times` is not positive.
  """
  _validate.positive("times", times)
  both = [_tokens("context", context), _tokens("question", question)]
  return np.concatenate(both * times)


def repeat_documents(
  documents: Sequence[bytes | np.ndarray], times: int = 2
) -> list[np.ndarray]:
  """Returns documents of which each is repeated as a whole.

  Args:
    documents: bytes, or (n,) integer tokens each.
    times: how often.

  Returns:
    As many arrays of tokens.

  Raises:
    ValueError: as `repeat`.
  """
  _validate.positive("times", times)
  return [np.tile(_tokens("documents", each), times) for each in documents]


def _tokens(name, text):
  """Bytes or tokens as an array (n,)."""
  if isinstance(text, bytes):
    return np.frombuffer(text, np.uint8)
  text = np.asarray(text)
  if text.ndim != 1 or not np.issubdtype(text.dtype, np.integer):
    got = f"dtype {text.dtype}, shape {text.shape}"
    raise _validate.error(name, got, "bytes, or integer tokens (n,)")
  return text
