"""The network of masked language models, against RNA-FM's own code."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.masked_language import pair_heads
from jaxseq import nn
from jaxseq.mixers.keys_and_values import attention
from jaxseq.tasks import base
from jaxseq.tasks.masked_language import network as masked_network
from jaxseq.tasks.masked_language import structformer
from jaxseq.tasks.masked_language.network import MaskedNetwork

# The release takes the softmax of attention in float32.
_CLOSE = {"rtol": 1e-6, "atol": 1e-6}
_RELEASES = ("rna_fm_tiny", "rna_fm_token_dropout")


def released(arrays):
  """The network of a release, its variables, tokens and lengths."""
  params = {
    name.removeprefix("param/"): jnp.asarray(value)
    for name, value in arrays.items()
    if name.startswith("param/")
  }
  width = params["embed_tokens.weight"].shape[1]
  count = sum(name.endswith("fc1.bias") for name in params)
  options = {"heads": int(arrays["num_heads"]), "bidirectional": True}
  stack = nn.StackConfig(
    "attention",
    {**options, "positions": "none", "qkv_bias": True, "output_bias": True},
    d_model=width,
    num_layers=count,
    activation="none",
    feedforward="exact_gelu",
    feedforward_width=len(params["layers.0.fc1.bias"]),
    norm_epsilon=1e-5,
    dtype="float64",
  )
  before = bool(arrays["emb_layer_norm_before"])
  network = MaskedNetwork(
    nn.NetworkConfig(stack, embedding_norm=before),
    25,
    int(arrays["mask_idx"]),
    positions=40,
    token_dropout=bool(arrays["token_dropout"]),
  )

  def dense(name):
    return {
      "kernel": params[f"{name}.weight"].T,
      "bias": params[f"{name}.bias"],
    }

  def norm(name):
    return {"scale": params[f"{name}.weight"], "bias": params[f"{name}.bias"]}

  layers = {"final_norm": norm("emb_layer_norm_after")}
  for i in range(count):
    here, mixer = f"layers.{i}", {}
    for letter, name in zip("qkvo", ("q_proj", "k_proj", "v_proj", "out_proj")):
      values = dense(f"{here}.self_attn.{name}")
      mixer |= {f"W_{letter}": values["kernel"]}
      mixer |= {f"W_{letter}_bias": values["bias"]}
    layers[f"layers_{i}"] = {
      "mixer": mixer,
      "norm": norm(f"{here}.self_attn_layer_norm"),
      "feedforward": {
        "in": dense(f"{here}.fc1"),
        "out": dense(f"{here}.fc2"),
      },
      "feedforward_norm": norm(f"{here}.final_layer_norm"),
    }
  made = {
    "embed": {"embedding": params["embed_tokens.weight"]},
    # Places are counted from the padding's number on, behind it.
    "positions": params["embed_positions.weight"][2:],
    "stack": layers,
    "head": {
      "dense": dense("lm_head.dense"),
      "norm": norm("lm_head.layer_norm"),
      "bias": params["lm_head.bias"],
    },
  }
  if before:
    made["embedding_norm"] = norm("emb_layer_norm_before")
  tokens = jnp.asarray(arrays["inputs"])
  lengths = (tokens != int(arrays["padding_idx"])).sum(axis=1)
  return network, {"params": made}, tokens, lengths, params


@pytest.mark.parametrize(
  "name", [_RELEASES[0], pytest.param(_RELEASES[1], marks=pytest.mark.slow)]
)
def test_the_encoder_of_the_release(golden, name):
  arrays = golden(f"rna/{name}")
  with jax.enable_x64(True):
    network, variables, tokens, lengths, params = released(arrays)
    inside = np.arange(tokens.shape[1]) < np.asarray(lengths)[:, None]
    last = f"representation/{network.config.stack.num_layers}"
    read = functools.partial(network.apply, features=True)
    features = jax.jit(read)(variables, tokens, lengths)
    np.testing.assert_allclose(
      np.asarray(features)[inside], arrays[last][inside], **_CLOSE
    )

    def loss(variables):
      logits = network.apply(variables, tokens, lengths)
      targets, scored = arrays["tokens"], arrays["scored"]
      return base.cross_entropy(logits, targets, scored)[0], logits

    slope_of = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, logits), slopes = slope_of(variables)
    np.testing.assert_allclose(
      np.asarray(logits)[inside], arrays["logits"][inside], **_CLOSE
    )
    np.testing.assert_allclose(value, arrays["loss"], **_CLOSE)
    slopes = slopes["params"]
    expected = {
      "embed_tokens.weight": slopes["embed"]["embedding"],
      "layers.0.self_attn.q_proj.weight": (
        slopes["stack"]["layers_0"]["mixer"]["W_q"].T
      ),
      "emb_layer_norm_after.weight": slopes["stack"]["final_norm"]["scale"],
      "lm_head.bias": slopes["head"]["bias"],
    }
    for key, slope in expected.items():
      np.testing.assert_allclose(
        slope, arrays[f"grad/{key}"], err_msg=key, **_CLOSE
      )

    # Maps of attention, and contacts by them; the ends are no letters.
    maps = masked_network.attention_maps(network, variables, tokens, lengths)
    maps = np.asarray(maps)
    shown = arrays["attentions"].reshape(maps.shape)
    np.testing.assert_allclose(maps, shown, **_CLOSE)
    letters = np.array(inside)
    letters[:, 0] = False
    letters[np.arange(len(letters)), np.asarray(lengths) - 1] = False
    weight = params["contact_head.regression.weight"]
    regression = {
      "kernel": weight.T,
      "bias": params["contact_head.regression.bias"],
    }
    contacts = jax.nn.sigmoid(
      jax.jit(pair_heads.ContactHead().apply)(
        {"params": {"regression": regression}}, maps, letters
      )
    )
    both = letters[:, :, None] & letters[:, None, :]
    np.testing.assert_allclose(
      np.asarray(contacts)[:, 1:-1, 1:-1][both[:, 1:-1, 1:-1]],
      arrays["contacts"][both[:, 1:-1, 1:-1]],
      **_CLOSE,
    )


def test_the_head_of_pairs_of_the_release(golden):
  arrays = golden("rna/rna_fm_tiny")

  def of(name):
    return arrays[f"head/{name}"]

  def convolution(name):
    return {"kernel": of(f"{name}.weight").transpose(2, 3, 1, 0)}

  params = {
    "reduce": {"kernel": of("reduce/weight").T, "bias": of("reduce/bias")},
    "first": {
      "kernel": of("first/weight").transpose(2, 3, 1, 0),
      "bias": of("first/bias"),
    },
    "final": {
      "kernel": of("final/weight").transpose(2, 3, 1, 0),
      "bias": of("final/bias"),
    },
    "block_0_norm": {
      "scale": of("block0/bn1.weight"),
      "bias": of("block0/bn1.bias"),
    },
    "block_0_in": convolution("block0/conv1"),
    "block_0_out": convolution("block0/conv2"),
  }
  statistics = {
    "mean": of("block0/bn1.running_mean").astype("d"),
    "var": of("block0/bn1.running_var").astype("d"),
  }
  variables = {"params": params, "batch_stats": {"block_0_norm": statistics}}
  head = pair_heads.PairHead(width=len(of("reduce/bias")), dilations=(2,))
  with jax.enable_x64(True):
    length = int(of("length"))
    x = jnp.asarray(arrays["representation/2"][:, 1 : length + 1])
    logits = jax.jit(head.apply)(variables, x)
    # Sums of convolutions in another order.
    np.testing.assert_allclose(logits, of("logits"), rtol=1e-9, atol=1e-9)
    # Padding is never seen.
    padded = jnp.pad(x, [(0, 0), (0, 3), (0, 0)], constant_values=7.0)
    again = jax.jit(head.apply)(variables, padded, jnp.full(len(x), length))
    np.testing.assert_allclose(
      again[:, :length, :length], logits, rtol=1e-9, atol=1e-9
    )


def _tiny(**options):
  own = {"heads": 2, "bidirectional": True}
  stack = nn.StackConfig("attention", own, d_model=6, num_layers=2, **options)
  return MaskedNetwork(nn.NetworkConfig(stack), 9, 8)


@pytest.mark.parametrize(
  "options",
  [
    {"norm": "none"},
    pytest.param({"prenorm": False}, marks=pytest.mark.slow),
    {"scan_layers": True, "remat": True},
    {"parallel": (("attention", {"heads": 2, "bidirectional": True}),)},
  ],
  ids=str,
)
def test_maps_are_those_of_what_the_mixers_read(options):
  network = _tiny(**options)
  tokens, lengths = jnp.asarray([[1, 2, 3, 4], [5, 6, 7, 0]]), [4, 3]
  variables = jax.jit(network.init)(jax.random.key(0), tokens)
  maps = masked_network.attention_maps(network, variables, tokens, lengths)
  assert maps.shape == (2, 4, 4, 4)
  np.testing.assert_allclose(maps[0].sum(axis=-1), 1, rtol=1e-5)
  assert not maps[1, :, :, 3:].any()
  params = variables["params"]
  x = params["embed"]["embedding"][tokens]
  x = jnp.where(
    jnp.asarray(lengths)[:, None, None] > jnp.arange(4)[:, None], x, 0
  )
  own = params["stack"].get("layers_0")
  if own is None:
    own = jax.tree.map(lambda leaf: leaf[0], params["stack"]["layers"])
  stack = network.config.stack
  if stack.norm != "none" and stack.prenorm:
    centered = x - x.mean(axis=-1, keepdims=True)
    x = centered / jnp.sqrt(centered.var(axis=-1, keepdims=True) + 1e-6)
  config = stack.every_layer[0].mixer_config
  mask = jnp.arange(4) < jnp.asarray(lengths)[:, None]
  first = attention.weights(config, own["mixer"], x, mask)
  np.testing.assert_allclose(maps[:, :2], first, rtol=1e-4, atol=1e-5)


def test_what_has_no_maps_or_trees_is_refused():
  network, tokens = _tiny(), jnp.asarray([[1, 2, 3]])
  variables = jax.jit(network.init)(jax.random.key(0), tokens)
  with pytest.raises(ValueError, match="parser: got None, expected a structfo"):
    network.apply(variables, tokens, method="parse")
  parser = structformer.Config(d_model=6, heads=2)
  with pytest.raises(ValueError, match="parser: got .*, expected None"):
    masked_network.attention_maps(
      network.clone(parser=parser), variables, tokens
    )
