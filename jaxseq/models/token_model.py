"""Tokenization and continuation of texts with language models."""

import jax

from jaxseq import data
from jaxseq import generation
from jaxseq.data import sources
from jaxseq.data import text_tokens
from jaxseq.models import model as models


def continue_text(
  model: models.Model,
  prompt: str,
  length: int,
  *,
  seed: int = 0,
  **options: object,
) -> str:
  """Continues a text with a model of bytes, or of a tokenizer's tokens.

  Args:
    model: a language model.
    prompt: beginning of a document; may be empty.
    length: number of tokens to generate.
    seed: seed of the sampling.
    **options: options of `generation.generate`, such as temperature and top_k.

  Returns:
    The prompt and its continuation.

  Raises:
    ValueError: if tokens are not bytes and there is no tokenizer, or an option
      is out of range.
    MissingData: if the tokenizer's package is not installed.
  """
  fits, text_codec = model.kind == "language", generation.Codec()
  if fits:
    text_codec = codec(model.preparation)
    fits = text_codec.tokenizer is not None or model.network.vocab_size == 256
  if not fits:
    raise ValueError(
      f"model: got one of {model.kind} with {model.network.num_outputs} "
      "outputs, expected one of a text of bytes, or with a tokenizer."
    )
  return generation.continue_text(
    model.network,
    model.variables,
    prompt,
    length,
    jax.random.key(seed),
    codec=text_codec,
    **options,
  )


def codec(prepared: data.Source | None) -> generation.Codec:
  """Returns the codec from texts to tokens, as in training.

  Raises:
    MissingData: if the tokenizer's package is not installed.
  """
  if not isinstance(prepared, sources.TextSource) or not prepared.tokenizer:
    return generation.Codec()
  return generation.Codec(text_tokens.read_tokenizer(prepared.tokenizer))
