"""Tests of the published agents' configurations."""

import functools
import math

import jax
import jax.numpy as jnp
import pytest

from jaxseq.spr import inputs
from jaxseq.spr import update
from jaxseq.spr import variants


def batch_shapes(config, size):
  ahead = config.num_predictions if config.predicts else 0
  image = config.networks.encoder.image_shape
  shape = jax.ShapeDtypeStruct
  return inputs.Batch(
    observation=shape((ahead + 1, size, *image), jnp.uint8),
    next_observation=shape((size, *image), jnp.uint8),
    action=shape((max(ahead, 1), size), jnp.int32),
    return_n=shape((size,), jnp.float32),
    discount=shape((), jnp.float32),
    done=shape((ahead + 1, size), jnp.bool_),
    done_n=shape((size,), jnp.bool_),
    weight=shape((size,), jnp.float32),
  )


@pytest.mark.parametrize("name", variants.names())
def test_an_update_keeps_the_form_of_the_state(name):
  config = variants.get(name, 6).update
  key = jax.random.key(0)
  state = jax.eval_shape(functools.partial(update.init, config=config), key)
  after, metrics = jax.eval_shape(
    functools.partial(update.train_step, config),
    state,
    batch_shapes(config, 32),
    key,
  )
  assert jax.tree.structure(after) == jax.tree.structure(state)
  kinds = [
    [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]
    for tree in (after, state)
  ]
  assert kinds[0] == kinds[1]
  assert metrics.priority.shape == (32,)
  assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(metrics))


def sizes(config):
  """Number of parameters of every part."""
  params = jax.eval_shape(lambda: update.init(jax.random.key(0), config)).params
  return {
    name: sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(part))
    for name, part in params.items()
  }


def test_sizes_are_the_published_ones():
  # As counted in SPR's own code, with 4 actions.
  assert sum(sizes(variants.get("spr", 4).update).values()) == 3_760_337
  der = sizes(variants.get("der", 4).update)
  # A noisy layer from 11x11x64 to 512, and two to 51 and 4 * 51 values.
  assert der["head"] == 2 * (7745 * 512 + 513 * 255)
  assert set(der) == {"encoder", "head"}
  assert sizes(variants.get("drq", 4).update)["head"] == 7745 * 512 + 513 * 5
  bbf = sizes(variants.get("bbf", 4).update)
  assert bbf["predictor"] == 2049 * 2048
  stages = [(4, 64), (64, 128), (128, 128)]
  assert bbf["encoder"] == sum(
    (9 * a + 1) * b + 4 * (9 * b + 1) * b for a, b in stages
  )


def test_agents_differ_where_they_should():
  agents = {name: variants.get(name, 6) for name in variants.names()}
  spr, slow = agents["spr"].update, agents["spr_no_aug"].update
  assert (spr.momentum_tau, slow.momentum_tau) == (1.0, 0.01)
  assert slow.augmentation is None
  assert slow.networks.encoder.dropout == 0.5
  assert agents["der"].update.target_period == 2000
  assert agents["drq"].update.networks.head.atoms is None
  assert agents["drq"].epsilon_train == 0.01
  assert agents["sr_spr"].resets.every == 5000
  assert agents["bbf"].annealing.last_steps == 3
  for name in ("sr_spr", "bbf"):
    config = agents[name].update
    assert config.target_tau == 0.005
    assert config.spr_target == "target"
    assert not config.networks.head.noisy
    assert agents[name].acts_with_target


def test_unknown_names_are_refused():
  with pytest.raises(ValueError, match="name must be one of"):
    variants.get("rainbow", 6)
