"""RWKV-4: `RwkvForCausalLM` (arXiv:2305.13048), and RWKV-7.

RWKV-4 halves the stream, and the layers' additions to it, after every
`rescale_every` layers, for the range of float16. This only makes the norms'
epsilons larger relative to the variance: the layers here have such epsilons.
With a `rescale_every` of 0, as in training, they are equal. The last norm's
epsilon is 1e-5, whatever `layer_norm_epsilon` is.

RWKV-7 is `RWKV7ForCausalLM` of flash-linear-attention (arXiv:2503.14456):
directories converted by that library's script from the files of BlinkDL's
RWKV-LM, whose tensors are the same under other names. The epsilon of the heads'
norms is the other norms' epsilon times a head's width.
"""

import math

from jaxseq.interop import _placement
from jaxseq.interop.families import _decoder

_HEAD = "head.weight"
_LAST_EPSILON = 1e-5
# An epsilon multiplied by 4 for each is still a float32.
_MOST_HALVINGS = 50
_RANKS = {
  "decay_rank": "decay_low_rank_dim",
  "rate_rank": "a_low_rank_dim",
  "value_rank": "v_low_rank_dim",
  "gate_rank": "gate_low_rank_dim",
}


def _vector(name: str) -> _placement.Place:
  """The place of a vector that is stored as (1, 1, d)."""
  return _placement.Place(
    (name,), lambda x: (x[None, None],), lambda x: x[0, 0]
  )


def _share(name: str) -> _placement.Place:
  """A time_mix, the weight of the current element: mu = 1 - time_mix."""
  return _placement.scaled(_vector(name), -1.0, -1.0)


_CHANNEL_MIX = {
  **_decoder.tensors({"W_k": "key", "W_v": "value", "W_r": "receptance"}),
  "mu_k": ("time_mix_key", _share),
  "mu_r": ("time_mix_receptance", _share),
}
_MIXER = {
  **_CHANNEL_MIX,
  **_decoder.tensors(
    {"W_o": "output"}, {"decay": "time_decay", "bonus": "time_first"}
  ),
  "mu_v": ("time_mix_value", _share),
}
_MIXER_7 = {
  **{f"mu_{name}": (f"x_{name}", _vector) for name in "rwkvag"},
  **_decoder.tensors(
    {
      **{f"W_{x}": f"{x}_proj" for x in "rkvo"},
      **{f"{x}1": f"{x}_lora.lora.0" for x in "wavg"},
      **{f"{x}2": f"{x}_lora.lora.2" for x in "wavg"},
    },
    {
      **{f"{x}0": f"{x}_lora.lora.2.bias" for x in "wavg"},
      **{name: name for name in ("k_k", "k_a", "r_k")},
      "norm_scale": "g_norm.weight",
      "norm_bias": "g_norm.bias",
    },
  ),
}
_CHANNEL_MIX_7 = _decoder.tensors(
  {"W_k": "key", "W_v": "value"}, {"mu_k": "x_k"}
)


def _options(entries, epsilon):
  width, layers = entries.count("hidden_size"), entries.layers
  hidden = entries.count("attention_hidden_size", None)
  inner = entries.count("intermediate_size", None)
  period = entries.get("rescale_every", int, 6)
  halvings = [i // period if period > 0 else 0 for i in range(layers + 1)]
  if halvings[-1] > _MOST_HALVINGS:
    expected = (
      f"at least {layers / _MOST_HALVINGS:g}, or 0, for {layers} layers"
    )
    raise entries.error("rescale_every", period, expected)
  epsilons = [epsilon * 4**count for count in halvings[:-1]]
  last = _LAST_EPSILON * 4 ** halvings[-1]
  options = {
    "mixer": "rwkv4",
    "mixer_options": {"d_hidden": hidden or width},
    "num_layers": layers,
    "norm": "layer",
    "norm_epsilon": last,
    "feedforward": "channel_mix",
    "feedforward_width": inner or 4 * width,
    "feedforward_options": {"receptance": True},
    "embedding_norm": True,
    # The norm after it has the stack's epsilon, that of the last norm; the
    # scale enlarges the variance by the same factor.
    "embedding_scale": math.sqrt(last / epsilon),
  }
  if set(epsilons) != {last}:
    options["layers"] = tuple({"norm_epsilon": eps} for eps in epsilons)
  return options


def _options_7(entries, epsilon):
  width, layers = entries.count("hidden_size"), entries.layers
  head = entries.count("head_dim", None)
  if head is None:
    heads = entries.count("num_heads", None)
    head = 64 if heads is None else width // heads
  entries.choice("hidden_act", ("sqrelu",), "sqrelu")
  entries.choice("norm_bias", (True,), True)
  entries.choice("attn", (None,), None)
  entries.choice("value_dim", (None, width, [width] * layers), None)
  ranks = {ours: entries.count(name, None) for ours, name in _RANKS.items()}
  return {
    "mixer": "rwkv7",
    "mixer_options": {"head_size": head, "eps": head * epsilon, **ranks},
    "norm": "layer",
    "feedforward": "channel_mix",
    "feedforward_width": _inner_width(entries, width),
    "embedding_norm": entries.flag("norm_first", True),
  }


def _inner_width(entries, width):
  """Returns the channel mix's width, by default a multiple of 32."""
  inner = entries.count("intermediate_size", None)
  if inner is not None:
    return inner
  ratio = entries.get("hidden_ratio", float, None)
  return -(-int(width * (4.0 if ratio is None else ratio)) // 32) * 32


def _layers(mixer, feedforward, norms):
  """Returns a function from a layer to the places of its modules and norms."""

  def places(layer):
    names = {"norm": norms[0], "feedforward_norm": norms[1]}
    return {
      **layer.module(*mixer),
      **layer.module(*feedforward, "feedforward"),
      **_decoder.layer_norms(
        {ours: layer.named(theirs) for ours, theirs in names.items()}
      ),
    }

  return places


def _around(first, last, **more):
  """Returns a function that returns the places of the outer norms."""
  norms = {"embedding_norm": first, "stack/final_norm": last}
  return lambda config: _decoder.layer_norms(norms) | more


def _copies(entries):
  """Returns the read-out's name, if it is tied to the embedding."""
  tied = entries.flag("tie_word_embeddings", False)
  return {_HEAD: FAMILY.EMBEDDING} if tied else {}


FAMILY = _decoder.Decoder(
  _options,
  _layers(
    ("attention", _MIXER), ("feed_forward", _CHANNEL_MIX), ("ln1", "ln2")
  ),
  EMBEDDING="rwkv.embeddings.weight",
  LAYERS="rwkv.blocks",
  epsilon=("layer_norm_epsilon", 1e-5),
  activation=None,
  around=_around(
    "rwkv.blocks.0.pre_ln",
    "rwkv.ln_out",
    **{"head/mlp/dense_0/kernel": _placement.linear(_HEAD)},
  ),
  copies=_copies,
)
FAMILY_7 = _decoder.Decoder(
  _options_7,
  _layers(
    ("attn", _MIXER_7), ("ffn", _CHANNEL_MIX_7), ("attn_norm", "ffn_norm")
  ),
  EMBEDDING="model.embeddings.weight",
  epsilon=("norm_eps", 1e-5),
  activation=None,
  around=_around("model.layers.0.pre_norm", "model.norm"),
)
