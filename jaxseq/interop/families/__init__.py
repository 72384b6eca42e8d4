"""Families of pretrained models, one module each.

A module makes a network of the `config.json` of a `model_type`, and says which
tensors its parameters are made of: a `Family`, which has

    EMBEDDING = "model.embed_tokens.weight"
    LAYERS = "model.layers"

    def from_json(entries: Entries) -> tuple[nn.NetworkConfig, int]:
      ...  # The options, and the number of tokens.

    def places(config: nn.NetworkConfig, entries: Entries) -> Places:
      ...  # Where each parameter's tensors are; too many do no harm.

and may have

    OLD_NAMES: Mapping[str, str]  # From names in old files to those of today.
    IGNORED: re.Pattern  # Names of tensors that are no parameters.

    def copies(entries: Entries) -> Mapping[str, str]:
      ...  # Names of tensors that may be there a second time, and the first's.

    def unused(entries: Entries) -> Collection[str]:
      ...  # Names of tensors beside config.json that the model does not use.

    def to_json(config, vocab_size) -> dict[str, Any]:
      ...  # Undoes `from_json`; without it such networks are not saved.

`EMBEDDING` is the tensor with a row for each token, `LAYERS` what stands before
the number of a layer. `_entries`, `_placement` and `_decoder` have what modules
need for this. Names and defaults of entries are those of the `*Config` classes
of the transformers library.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.interop.families import bamba_family as bamba_family
  from jaxseq.interop.families import falcon_h1_family as falcon_h1_family
  from jaxseq.interop.families import falcon_mamba_family as falcon_mamba_family
  from jaxseq.interop.families import (
    granitemoehybrid_family as granitemoehybrid_family,
  )
  from jaxseq.interop.families import jamba_family as jamba_family
  from jaxseq.interop.families import kimi_linear_family as kimi_linear_family
  from jaxseq.interop.families import lfm2_family as lfm2_family
  from jaxseq.interop.families import mamba2_family as mamba2_family
  from jaxseq.interop.families import mamba_family as mamba_family
  from jaxseq.interop.families import nemotron_h_family as nemotron_h_family
  from jaxseq.interop.families import olmo_hybrid_family as olmo_hybrid_family
  from jaxseq.interop.families import qwen3_5_family as qwen3_5_family
  from jaxseq.interop.families import qwen3_5_text_family as qwen3_5_text_family
  from jaxseq.interop.families import qwen3_next_family as qwen3_next_family
  from jaxseq.interop.families import (
    recurrent_gemma_family as recurrent_gemma_family,
  )
  from jaxseq.interop.families import registry as registry
  from jaxseq.interop.families import rwkv7_family as rwkv7_family
  from jaxseq.interop.families import rwkv_family as rwkv_family
  from jaxseq.interop.families import xlstm_family as xlstm_family
  from jaxseq.interop.families import zamba2_family as zamba2_family
  from jaxseq.interop.families.registry import Family as Family
  from jaxseq.interop.families.registry import get as get
  from jaxseq.interop.families.registry import names as names
  from jaxseq.interop.families.registry import register as register
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
