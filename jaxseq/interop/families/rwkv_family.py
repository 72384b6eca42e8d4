"""RWKV-4: `RwkvForCausalLM` (arXiv:2305.13048).

There the stream is halved after every `rescale_every` layers, and what layers
add to it is halved with it, for the range of float16. Nothing comes of it but
larger epsilons beside its variance in the norms: these are what layers have
here. `rescale_every` of 0, as in training, leaves them alike. The last norm's
own epsilon is 1e-5, whatever `layer_norm_epsilon` is.
"""

from collections.abc import Mapping
import math

from jaxseq import nn
from jaxseq.interop import _entries
from jaxseq.interop import _placement
from jaxseq.interop import _tensors
from jaxseq.interop.families import _decoder

EMBEDDING = "rwkv.embeddings.weight"
LAYERS = "rwkv.blocks"
_HEAD = "head.weight"
_LAST_EPSILON = 1e-5
# Four times an epsilon each is still a float32.
_MOST_HALVINGS = 50
_NORM = {
  "scale": ("weight", _placement.same),
  "bias": ("bias", _placement.same),
}


def vector(name: str) -> _placement.Place:
  """Returns the place of a vector that is (1, 1, d) there."""
  return _placement.Place(
    (name,), lambda x: (x[None, None],), lambda x: x[0, 0]
  )


def _share(name: str) -> _placement.Place:
  """A time_mix, the share of the present element, as mu = 1 - it."""
  return _placement.scaled(vector(name), -1.0, -1.0)


_MIXER = {
  "mu_k": ("time_mix_key", _share),
  "mu_v": ("time_mix_value", _share),
  "mu_r": ("time_mix_receptance", _share),
  "W_k": ("key.weight", _placement.linear),
  "W_v": ("value.weight", _placement.linear),
  "W_r": ("receptance.weight", _placement.linear),
  "W_o": ("output.weight", _placement.linear),
  "decay": ("time_decay", _placement.same),
  "bonus": ("time_first", _placement.same),
}
_CHANNEL_MIX = {
  name: place
  for name, place in _MIXER.items()
  if name in ("mu_k", "mu_r", "W_k", "W_v", "W_r")
}


def from_json(entries: _entries.Entries) -> tuple[nn.NetworkConfig, int]:
  """Returns the options of the network and the number of tokens."""
  width = entries.count("hidden_size")
  layers = entries.get("num_hidden_layers", int)
  epsilon = entries.epsilon("layer_norm_epsilon", 1e-5)
  hidden = entries.count("attention_hidden_size", None)
  inner = entries.count("intermediate_size", None)
  every = entries.get("rescale_every", int, 6)
  halvings = [i // every if every > 0 else 0 for i in range(layers + 1)]
  if halvings[-1] > _MOST_HALVINGS:
    expected = (
      f"at least {layers / _MOST_HALVINGS:g}, or 0, for {layers} layers"
    )
    raise entries.error("rescale_every", every, expected)
  epsilons = [epsilon * 4**count for count in halvings[:-1]]
  last = _LAST_EPSILON * 4 ** halvings[-1]
  stack = {
    "mixer": "rwkv4",
    "mixer_options": {"d_hidden": hidden or width},
    "d_model": width,
    "num_layers": layers,
    "norm": "layer",
    "norm_epsilon": last,
    "feedforward": "channel_mix",
    "feedforward_width": inner or 4 * width,
    "feedforward_options": {"receptance": True},
  }
  if set(epsilons) != {last}:
    stack["layers"] = tuple({"norm_epsilon": eps} for eps in epsilons)
  config = _decoder.network(
    entries,
    stack,
    tie=entries.get("tie_word_embeddings", bool, False),
    embedding_norm=True,
    # The norm behind it has the stack's epsilon, which is that of the last one:
    # beside a variance that is larger by as much, it is its own.
    embedding_scale=math.sqrt(last / epsilon),
  )
  return config, entries.get("vocab_size", int)


def copies(entries: _entries.Entries) -> dict[str, str]:
  """Returns the read-out's name, if it is the embedding."""
  tied = entries.get("tie_word_embeddings", bool, False)
  return {_HEAD: EMBEDDING} if tied else {}


def places(
  config: nn.NetworkConfig, entries: _entries.Entries
) -> _tensors.Places:
  """Returns the places of the parameters."""
  del entries
  paths = {
    "embed/embedding": _placement.same(EMBEDDING),
    "head/mlp/dense_0/kernel": _placement.linear(_HEAD),
  }
  norms = {
    "embedding_norm": f"{LAYERS}.0.pre_ln",
    "stack/final_norm": "rwkv.ln_out",
  }
  for i in range(config.stack.num_layers):
    ours, theirs = f"stack/layers_{i}", f"{LAYERS}.{i}"
    norms[f"{ours}/norm"] = f"{theirs}.ln1"
    norms[f"{ours}/feedforward_norm"] = f"{theirs}.ln2"
    paths |= _decoder.renamed(f"{ours}/mixer", f"{theirs}.attention", _MIXER)
    paths |= _decoder.renamed(
      f"{ours}/feedforward", f"{theirs}.feed_forward", _CHANNEL_MIX
    )
  return paths | layer_norms(norms)


def layer_norms(names: Mapping[str, str]) -> dict[str, _placement.Place]:
  """Returns the places of layer norms, by their paths here and there."""
  return {
    path: place
    for here, there in names.items()
    for path, place in _decoder.renamed(here, there, _NORM).items()
  }
