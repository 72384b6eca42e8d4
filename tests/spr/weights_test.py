"""Tests of the names and layouts of SPR's weights in PyTorch.

Their values are tested by whole updates against SPR's own code.
"""

import dataclasses

import jax
import numpy as np
import pytest

from jaxseq.interop import spr as weights
from jaxseq.rl import encoders
from jaxseq.rl import layers
from jaxseq.spr import agent_networks
from jaxseq.spr import conv_transition
from jaxseq.spr import learner
from jaxseq.spr import q_heads
from jaxseq.spr import variants

# Height, width and channels differ, so that no two can be confused.
LATENT = (2, 3, 5)
SMALL = agent_networks.Config(
  encoders.Config(
    image_shape=(20, 24, 2),
    channels=(3, 4, 5),
    kernels=(4, 3, 2),
    strides=(4, 1, 1),
    padding="VALID",
  ),
  q_heads.Config(4, 30, hidden=6, atoms=7),
  conv_transition.Config(4, 5, hidden=8),
)


def distinct(tree):
  """The same tree with no two numbers alike."""
  leaves, treedef = jax.tree.flatten(tree)
  ends = np.cumsum([leaf.size for leaf in leaves])
  return treedef.unflatten(
    np.arange(end - leaf.size, end, dtype=np.float32).reshape(leaf.shape)
    for leaf, end in zip(leaves, ends)
  )


@pytest.fixture(scope="module")
def params():
  assert encoders.latent_shape(SMALL.encoder) == LATENT
  return distinct(
    jax.eval_shape(lambda: agent_networks.init(jax.random.key(0), SMALL))
  )


@pytest.fixture
def tensors(params):
  return weights.state_dict(params, LATENT)


def assert_same(got, want):
  assert jax.tree.structure(got) == jax.tree.structure(want)
  for leaf, other in zip(jax.tree.leaves(got), jax.tree.leaves(want)):
    assert leaf.dtype == other.dtype
    np.testing.assert_array_equal(leaf, other)


def test_there_and_back(params, tensors):
  assert_same(weights.params(tensors, LATENT), params)
  assert weights.params(tensors, LATENT)["head"]["advantage_bias"].base is None


def test_the_published_agent_has_the_originals_tensors(golden):
  arrays = golden("spr/full_update_tau1")
  config = variants.get("spr", int(arrays["num_actions"])).update.networks
  tree = jax.eval_shape(lambda: agent_networks.init(jax.random.key(0), config))
  tree = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), tree)
  latent = encoders.latent_shape(config.encoder)
  tensors = weights.state_dict(tree, latent)
  assert {
    name: "x".join(map(str, tensor.shape)) for name, tensor in tensors.items()
  } == dict(zip(arrays["param_names"], arrays["param_shapes"]))
  assert list(tensors) == list(arrays["param_names"])
  assert_same(weights.params(tensors, latent), tree)


def test_a_dense_layer_meets_the_same_elements(params, tensors):
  latent = np.random.default_rng(0).uniform(size=LATENT).astype(np.float32)
  flat = latent.transpose(2, 0, 1).ravel()
  want = [
    tensors[f"{name}.weight_mu"] @ flat + tensors[f"{name}.bias_mu"]
    for name in ("head.value.1", "head.advantage_hidden.1")
  ]
  got = q_heads.project(SMALL.head, params["head"], latent)
  # Float32, sums of 30 terms in another order.
  np.testing.assert_allclose(got, np.concatenate(want), rtol=1e-5)


def test_a_convolution_is_that_of_pytorch(params, tensors):
  image = np.random.default_rng(0).uniform(size=(1, 4, 4, 2))
  image = image.astype(np.float32)
  # A window as large as the image: one product.
  weight, bias = (tensors[f"conv.conv.0.{n}"] for n in ("weight", "bias"))
  want = (weight * image[0].transpose(2, 0, 1)).sum(axis=(1, 2, 3)) + bias
  got = layers.conv(params["encoder"]["conv_0"], image, padding="VALID")
  np.testing.assert_allclose(got[0, 0, 0], want, rtol=1e-5)


def test_momentum_copies_are_those_of_a_state(params, tensors):
  config = learner.Config(SMALL)
  state = jax.eval_shape(lambda tree: learner.start(config, tree, None), params)
  classifier = "global_target_classifier.encoders"
  for ours, theirs in (
    ("conv.", "target_encoder."),
    ("head.value.1.", f"{classifier}.0."),
    ("head.advantage_hidden.1.", f"{classifier}.1."),
  ):
    tensors |= {
      theirs + name.removeprefix(ours): tensor
      for name, tensor in tensors.items()
      if name.startswith(ours)
    }
  got = weights.momentum(tensors, LATENT)
  assert jax.tree.structure(got) == jax.tree.structure(state.momentum)
  want = {
    "encoder": params["encoder"],
    "head": q_heads.projection_params(SMALL.head, params["head"]),
  }
  assert_same(got, want)
  # They do not disturb what is read of the network.
  assert_same(weights.params(tensors, LATENT), params)
  del tensors[f"{classifier}.1.bias_mu"]
  with pytest.raises(ValueError, match=r"got no .*encoders\.1\.bias_mu, exp"):
    weights.momentum(tensors, LATENT)


def test_what_has_no_place_is_left_out(params, tensors):
  for name in (
    "head.network.1.weight_mu",
    "head.value.1.weight_epsilon",
    "global_classifier.encoders.0.bias_mu",
    "dynamics_model.network.2.running_mean",
    "dynamics_model.network.2.num_batches_tracked",
    "dynamics_model.action_embedding.weight",
    "dynamics_model.reward_predictor.network.0.weight",
  ):
    tensors[name] = np.zeros(())
  assert_same(weights.params(tensors, LATENT), params)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_an_agent_of_fewer_parts(norm):
  model = dataclasses.replace(SMALL.transition, norm="none")
  config = dataclasses.replace(
    SMALL, transition=model if norm == "none" else None
  )
  tree = distinct(
    jax.eval_shape(lambda: agent_networks.init(jax.random.key(0), config))
  )
  tensors = weights.state_dict(tree, LATENT)
  assert not any(
    name.startswith("dynamics_model.network.2") for name in tensors
  )
  assert_same(weights.params(tensors, LATENT), tree)


def test_dropout_moves_the_convolutions(params):
  tensors = weights.state_dict(params, LATENT, dropout=True)
  assert [name for name in tensors if name.endswith("conv.6.bias")]
  assert_same(weights.params(tensors, LATENT, dropout=True), params)
  with pytest.raises(ValueError, match=r"conv\.conv\.2\.weight and 3 more"):
    weights.params(tensors, LATENT)


@pytest.mark.parametrize(
  ("name", "tensor", "message"),
  [
    ("head.value.3.bias_mu", None, r"got no head\.value\.3\.bias_mu, expected"),
    (
      "dynamics_model.network.2.bias",
      None,
      r"got no .*network\.2\.bias, expected",
    ),
    (
      "head.value.2.weight",
      (3,),
      r"got head\.value\.2\.weight, expected only what SPR's network has",
    ),
    (
      "head.value.1.bias_mu",
      (5,),
      r"head\.value\.1\.bias_mu: .* expected shape \(6,\), that is \(hidden\)",
    ),
    (
      "conv.conv.0.weight",
      (3, 2, 4, 5),
      r"conv\.conv\.0\.weight: .* expected shape \(3, 2, 4, 4\)",
    ),
    (
      "head.value.1.weight_mu",
      (30, 6),
      r"head\.value\.1\.weight_mu: .* expected shape \(6, 30\)",
    ),
    (
      "head.value.1.weight_mu",
      (6, 5, 3, 2),
      r"weight_mu: got the shape .* expected the axes \(hidden, features\)",
    ),
    (
      "dynamics_model.network.0.net.0.weight",
      (8, 8, 3, 3),
      r"network\.0\.net\.0\.weight: .* expected shape \(8, 9, 3, 3\)",
    ),
    (
      "global_final_classifier.0.weight",
      (12, 11),
      r"classifier\.0\.weight: .* expected shape \(12, 12\)",
    ),
  ],
)
def test_wrong_tensors_are_named(tensors, name, tensor, message):
  if tensor is None:
    del tensors[name]
  else:
    tensors[name] = np.zeros(tensor, np.float32)
  with pytest.raises(ValueError, match=message):
    weights.params(tensors, LATENT)


def test_an_output_for_half_an_action_is_refused(tensors):
  for part in ("weight_mu", "weight_sigma", "bias_mu", "bias_sigma"):
    name = f"head.advantage_out.{part}"
    tensors[name] = tensors[name][:24]
  with pytest.raises(
    ValueError, match=r"weight_mu: .* expected shape \(21, 6\)"
  ):
    weights.params(tensors, LATENT)


def test_wrong_latents_are_refused(tensors):
  with pytest.raises(
    ValueError, match="latent: .* expected .height, width, ch"
  ):
    weights.params(tensors, (6, 5))
  with pytest.raises(ValueError, match=r"got \(5, 4.* the latent \(2, 3, 6\)"):
    weights.params(tensors, (2, 3, 6))


def test_wrong_parameters_are_named(params):
  head = dict(params["head"])
  head["value_out"] = {**head["value_out"], "w": np.zeros((6, 8))}
  with pytest.raises(
    ValueError, match=r"head/value_out/w: .* expected shape \(6"
  ):
    weights.state_dict({**params, "head": head}, LATENT)
  del head["value_out"]
  with pytest.raises(ValueError, match="got no head/value_out/w and 3 more"):
    weights.state_dict({**params, "head": head}, LATENT)
  memory = {"memory": {"w": np.zeros(3)}}
  with pytest.raises(ValueError, match="got memory/w, expected only what"):
    weights.state_dict({**params, **memory}, LATENT)
