"""Tests of the whole update, against two golden runs of SPR's own code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl import encoders
from jaxseq.rl import layers
from jaxseq.rl.replay import frames
from jaxseq.spr import _inputs
from jaxseq.spr import _objective
from jaxseq.spr import agent_networks
from jaxseq.spr import conv_transition
from jaxseq.spr import learner
from jaxseq.spr import optimizer
from jaxseq.spr import q_heads
from jaxseq.spr import update
from tests.spr import reference

TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}
LATENT = (7, 7, 64)


def golden_noise(seed, config):
  noise = {}
  for name, pair in reference.normals(seed, config.sizes).items():
    normal_in, normal_out = pair
    if name.endswith("hidden"):
      normal_in = reference.rows(normal_in, LATENT)
    noise[name] = q_heads.scale_noise(
      *map(jnp.asarray, (normal_in, normal_out))
    )
  return noise


def golden_case(arrays, done_n):
  """Returns configuration, state, batch and draws of a golden run."""
  actions, ahead = int(arrays["num_actions"]), int(arrays["K"])
  head = q_heads.Config(actions, 3136, int(arrays["hidden"]))
  config = learner.Config(
    agent_networks.Config(
      encoders.Config(epsilon=0.0),
      head,
      conv_transition.Config(actions, epsilon=0.0),
    ),
    augmentation=None,
    num_predictions=ahead,
    spr_weight=float(arrays["spr_weight_code"]),
    momentum_tau=float(arrays["momentum_tau"]),
    done_n=done_n,
    optimizer=optimizer.Config(
      learning_rate=float(arrays["lr"]),
      epsilon=float(arrays["adam_eps"]),
      max_grad_norm=float(arrays["max_grad_norm"]),
    ),
  )
  params, target = (
    reference.network(reference.tensors(arrays, kind, "param_shapes"), LATENT)
    for kind in ("param", "target")
  )
  momentum = reference.momentum(
    reference.tensors(arrays, "momentum", "momentum_shapes"), LATENT
  )
  noise = golden_noise(int(arrays["noise_seed_online"]), head)
  params, target, momentum = jax.tree.map(
    jnp.asarray, (params, target, momentum)
  )
  state = learner.start(config, params, noise)._replace(
    target={name: target[name] for name in ("encoder", "head")},
    momentum=momentum,
    target_noise=golden_noise(int(arrays["noise_seed_target"]), head),
  )
  images = reference.images(reference.stacks(arrays))
  n = int(arrays["n_step"])
  batch = frames.Batch(
    observation=np.swapaxes(images[: ahead + 1], 0, 1),
    next_observation=images[n],
    action=arrays["all_action"][1 : ahead + 1].T,
    return_n=arrays["return_n"][0],
    discount=np.float64(arrays["gamma"]) ** n,
    done=arrays["done"].T,
    done_n=arrays["done_n"][0],
    weight=arrays["is_weights"],
  )
  return config, state, jax.tree.map(jnp.asarray, batch), _inputs.Draws(noise)


def forward(config, state, batch, draws):
  """What the golden file tells of the first forward pass, and gradients."""
  parts = config.networks

  def loss(params):
    latent = encoders.apply(
      parts.encoder, params["encoder"], batch.observation[:, 0]
    )
    logits = q_heads.apply(parts.head, params["head"], latent, draws.noise)
    latents = conv_transition.apply(
      parts.transition, params["transition"], latent, batch.action
    )
    latents = jnp.concatenate([latent[:, None], latents], axis=1)
    predicted = layers.dense(
      params["predictor"], q_heads.project(parts.head, params["head"], latents)
    )
    projected = agent_networks.encode_project(
      parts, state.momentum, batch.observation
    )
    distance = _objective.spr_distance(predicted, projected)
    # The golden file has time first.
    return jax.nn.log_softmax(logits), jnp.swapaxes(latents, 0, 1), distance.T

  whole = update.make_loss(config, state, batch, draws)
  grads = jax.grad(lambda params: whole(params)[0])(state.params)
  return loss(state.params), grads


def check_tensors(tensors, arrays, name, names="param_names"):
  heads_of = arrays[f"{name}_head"]
  for i, key in enumerate(arrays[names]):
    got = tensors.get(str(key))
    if got is None:
      continue
    # The golden file has the first few entries, padded with NaN.
    want = heads_of[i][: got.size]
    np.testing.assert_allclose(
      got.ravel()[: len(want)], want, **TOLERANCE, err_msg=str(key)
    )


def golden_results(golden, name, done_n):
  """The arrays of a golden run.

  The original's have the flag "any". What is another number with "first" comes
  from the PyTorch agent that gives the original's numbers with "any", see
  `tests/interop/spr_updates.py`.
  """
  arrays = golden(f"spr/full_update_{name}")
  if done_n == "first":
    arrays |= golden(f"spr/full_update_{name}_first")
  return arrays


@pytest.mark.parametrize("name", ["tau1", "tau001"])
def test_the_flag_matters_in_the_golden_updates(golden, name):
  any_, first = (
    golden_results(golden, name, done_n) for done_n in ("any", "first")
  )
  # All returns are cut with one, not all with the other.
  assert any_["done_n"][0].all()
  assert not any_["done"][0].all()
  assert abs(any_["rl_loss"] - first["rl_loss"]) > 0.01
  for key in ("kl", "grad_head", "after_head"):
    assert np.max(np.abs(any_[key] - first[key])) > 1e-6, key
  np.testing.assert_allclose(
    any_["model_spr_loss"], first["model_spr_loss"], **TOLERANCE
  )


@pytest.mark.parametrize(
  "done_n", [pytest.param("any", marks=pytest.mark.slow), "first"]
)
@pytest.mark.parametrize(
  "name", [pytest.param("tau1", marks=pytest.mark.slow), "tau001"]
)
def test_updates_equal_the_reference(x64, golden, name, done_n):
  arrays = golden_results(golden, name, done_n)
  config, state, batch, draws = golden_case(arrays, done_n)

  @jax.jit
  def run(state, batch, draws):
    # In one program, which holds what is common to both only once.
    first = forward(config, state, batch, draws)
    return first, update.update(config, state, batch, draws)

  (outputs, grads), after = run(state, batch, draws)
  log_probs, latents, distance = outputs
  np.testing.assert_allclose(log_probs, arrays["log_p_online"], **TOLERANCE)
  np.testing.assert_allclose(
    latents.mean(axis=(2, 3, 4)), arrays["latent_mean"], **TOLERANCE
  )
  np.testing.assert_allclose(
    latents[..., 0], arrays["latent_channel0"], **TOLERANCE
  )
  np.testing.assert_allclose(distance, arrays["spr_loss_matrix"], **TOLERANCE)
  grads = reference.state_dict(grads, LATENT)
  norms = dict(zip(arrays["param_names"], arrays["grad_norms"]))
  for key, norm in norms.items():
    if not np.isnan(norm):
      np.testing.assert_allclose(
        np.linalg.norm(grads[str(key)]), norm, **TOLERANCE, err_msg=key
      )
  check_tensors(grads, arrays, "grad")

  first = None
  for i in range(int(arrays["n_updates"])):
    state, metrics = after if i == 0 else run(state, batch, draws)[1]
    first = metrics if first is None else first
    np.testing.assert_allclose(
      metrics[1:5], arrays["update_info"][i], **TOLERANCE
    )
  for key, value in (
    ("total_loss", first.loss),
    ("rl_loss", first.rl_loss),
    ("model_spr_loss", first.spr_loss),
    ("kl", first.priority),
    ("stem_grad_norm", first.stem_norm),
    ("dynamics_grad_norm", first.transition_norm),
    ("priorities", metrics.priority),
  ):
    np.testing.assert_allclose(value, arrays[key], **TOLERANCE, err_msg=key)
  after = reference.state_dict(state.params, LATENT)
  assert sorted(after) == sorted(str(key) for key in arrays["param_names"])
  assert sum(leaf.size for leaf in after.values()) == arrays["n_trainable"]
  check_tensors(after, arrays, "after")
  for i, key in enumerate(arrays["param_names"]):
    got = after[str(key)]
    # Sums cancel: their error is that of the largest terms.
    scale = np.abs(got).sum()
    np.testing.assert_allclose(
      got.sum(), arrays["after_sum"][i], rtol=1e-10, atol=1e-13 * scale
    )
    np.testing.assert_allclose(
      np.square(got).sum(), arrays["after_sumsq"][i], **TOLERANCE
    )
  momentum = {}
  for i, n in enumerate((0, 2, 4)):
    layer = state.momentum["encoder"][f"conv_{i}"]
    weight = reference.torch_conv(layer["w"])
    momentum[f"target_encoder.conv.{n}.weight"] = weight
    momentum[f"target_encoder.conv.{n}.bias"] = np.asarray(layer["b"])
  for part in ("value_hidden", "advantage_hidden"):
    layer, prefix = state.momentum["head"][part], f"spr_target_{part}"
    weight = reference.torch_dense(layer["w"], LATENT)
    momentum[f"{prefix}.weight_mu"] = weight
    momentum[f"{prefix}.bias_mu"] = np.asarray(layer["b"])
  check_tensors(momentum, arrays, "momentum_after", "momentum_names")
  # With period 1 and tau 1 the target network is the online one, noise too.
  for part in ("encoder", "head"):
    jax.tree.map(
      np.testing.assert_array_equal, state.target[part], state.params[part]
    )
  jax.tree.map(np.testing.assert_array_equal, state.target_noise, draws.noise)
  assert state.step == arrays["n_updates"]
