"""Weights that other libraries wrote, and can read.

  from jaxseq.interop import huggingface

  config, variables = huggingface.load("path/to/mamba-130m-hf")
  network = huggingface.make_network(config, variables)
  logits, states = network.apply(variables, tokens)

Nothing is ever downloaded, and nothing is unpickled.
"""
