"""Falcon-Mamba: `FalconMambaForCausalLM` (arXiv:2410.05355).

Mamba whose step sizes, B and C are normalized without weights.
"""

from typing import Any

from jaxseq import nn
from jaxseq.interop import _entries
from jaxseq.interop.families import mamba_family

EMBEDDING = mamba_family.EMBEDDING
LAYERS = mamba_family.LAYERS
places = mamba_family.places


def from_json(entries: _entries.Entries) -> tuple[nn.NetworkConfig, int]:
  """Returns the options of the network and the number of tokens."""
  norm = {"norm": "plain", "norm_eps": entries.epsilon("mixer_rms_eps", 1e-6)}
  return mamba_family.make_network(entries, norm)


def to_json(config: nn.NetworkConfig, vocab_size: int) -> dict[str, Any]:
  """Undoes `from_json`."""
  entries = mamba_family.describe(config, vocab_size, "plain")
  (mixer,) = config.stack.mixers
  entries["model_type"] = "falcon_mamba"
  entries["architectures"] = ["FalconMambaForCausalLM"]
  entries["mixer_rms_eps"] = mixer.norm_eps
  return entries
