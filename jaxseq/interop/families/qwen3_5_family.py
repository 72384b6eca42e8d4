"""Qwen3.5: the model of text in `Qwen3_5ForConditionalGeneration`.

What reads images and films is left out.
"""

import re

from jaxseq import nn
from jaxseq.interop import _entries
from jaxseq.interop import _tensors
from jaxseq.interop.families import qwen3_5_text_family

_ROOT = "model.language_model"
EMBEDDING = f"{_ROOT}.embed_tokens.weight"
LAYERS = f"{_ROOT}.layers"
IGNORED = re.compile(r"(model\.visual|mtp)\..*")


def from_json(entries: _entries.Entries) -> tuple[nn.NetworkConfig, int]:
  """Returns the options of the network and the number of tokens."""
  text = entries.get("text_config", dict)
  tie = entries.contents.get("tie_word_embeddings")
  if tie is not None:
    text = {**text, "tie_word_embeddings": tie}
  entries = entries.replaced(**text)
  entries.check(EMBEDDING, LAYERS)
  return qwen3_5_text_family.from_json(entries)


def places(
  config: nn.NetworkConfig, entries: _entries.Entries
) -> _tensors.Places:
  """Returns the places of the parameters."""
  del entries
  return qwen3_5_text_family.below(config, _ROOT)
