"""Weights in the formats of other libraries, read and written.

  from jaxseq.interop import huggingface

  config, variables = huggingface.load("path/to/mamba-130m-hf")
  network = huggingface.make_network(config, variables)
  logits, states = network.apply(variables, tokens)

  huggingface       models of the transformers library, see `families`
  peft_modules      adapters of these, as the PEFT library writes them
  network_file      networks of `jaxseq.nn`, options and variables
  described_file    files of arrays that describe themselves
  safetensors_file  files of named arrays
  streamed          networks that do not fit into memory, computed from a file
  row_predictors    low-rank predictors of the rows that these need
  step_program      one step of a network as a separate program
  onnx_graph        programs of JAX as graphs of ONNX
  spr               state dicts of SPR's PyTorch code

Nothing is ever downloaded, and nothing is unpickled.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.interop import described_file as described_file
  from jaxseq.interop import families as families
  from jaxseq.interop import huggingface as huggingface
  from jaxseq.interop import network_file as network_file
  from jaxseq.interop import onnx_graph as onnx_graph
  from jaxseq.interop import peft_modules as peft_modules
  from jaxseq.interop import row_predictors as row_predictors
  from jaxseq.interop import safetensors_file as safetensors_file
  from jaxseq.interop import spr as spr
  from jaxseq.interop import step_program as step_program
  from jaxseq.interop import streamed as streamed
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
