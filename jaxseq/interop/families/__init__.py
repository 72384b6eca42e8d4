"""Families of pretrained models.

A family builds a network from the `config.json` of a `model_type`, and maps its
parameters to tensors. It is a module or an object with

    EMBEDDING = "model.embed_tokens.weight"
    LAYERS = "model.layers"

    def from_json(entries: Entries) -> tuple[nn.NetworkConfig, int]:
      ...  # The options, and the number of tokens.

    def places(config: nn.NetworkConfig, entries: Entries) -> Places:
      ...  # Where each parameter's tensors are; too many do no harm.

and optionally

    OLD_NAMES: Mapping[str, str]  # From names in old files to those of today.
    IGNORED: re.Pattern  # Names of tensors that are no parameters.
    # And of those of them that follow from config.json, which are saved, too.
    DERIVED: re.Pattern
    # Where modules of the library have other names than their tensors: pairs
    # of a pattern of these and its replacement. Adapters have the modules'.
    MODULES: tuple[tuple[str, str], ...]

    def copies(entries: Entries) -> Mapping[str, str]:
      ...  # Names of tensors that may be there a second time, and the first's.

    def unused(entries: Entries) -> Collection[str]:
      ...  # Names of tensors beside config.json that the model does not use.

    def to_json(config, vocab_size) -> dict[str, Any]:
      ...  # Undoes `from_json`; without it such networks are not saved.

`EMBEDDING` is the tensor with a row for each token, `LAYERS` the prefix of
layer numbers. `_entries` and `_placement` have the tools of families, and each
family here is a `_decoder.Decoder`. Names and defaults of entries are those of
the `*Config` classes of the transformers library.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.interop.families import registry as registry
  from jaxseq.interop.families.registry import Family as Family
  from jaxseq.interop.families.registry import get as get
  from jaxseq.interop.families.registry import names as names
  from jaxseq.interop.families.registry import register as register
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
