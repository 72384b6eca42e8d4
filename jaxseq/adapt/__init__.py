"""Adapting trained networks to new data.

from jaxseq import adapt

config = adapt.lora.Config(("in_proj", "out_proj"), rank=8)
print(adapt.lora.match(network, variables, config))
adapters = adapt.lora.init(key, network, variables, config)
logits, _ = network.apply(adapt.lora.attach(variables, adapters), tokens)

lora low-rank adapters peft_file adapters in the files of the PEFT library batch
several adapters in one batch initial_states tuned initial states of sequences
quantized weights in 8 bits
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.adapt import batch as batch
  from jaxseq.adapt import initial_states as initial_states
  from jaxseq.adapt import lora as lora
  from jaxseq.adapt import peft_file as peft_file
  from jaxseq.adapt import products as products
  from jaxseq.adapt import quantized as quantized
  from jaxseq.adapt import tuning as tuning
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
