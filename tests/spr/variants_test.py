"""Tests of the published agents' configurations."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import pytest

from jaxseq.rl import encoders
from jaxseq.rl.replay import frames
from jaxseq.spr import learner
from jaxseq.spr import update
from jaxseq.spr import variants


def batch_shapes(config, size):
  ahead = config.num_predictions if config.predicts else 0
  image = config.networks.encoder.image_shape
  shape = jax.ShapeDtypeStruct
  return frames.Batch(
    observation=shape((size, ahead + 1, *image), jnp.uint8),
    next_observation=shape((size, *image), jnp.uint8),
    action=shape((size, max(ahead, 1)), jnp.int32),
    return_n=shape((size,), jnp.float32),
    discount=shape((), jnp.float32),
    done=shape((size, ahead + 1), jnp.bool_),
    done_n=shape((size,), jnp.bool_),
    weight=shape((size,), jnp.float32),
  )


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(
      name,
      marks=()
      if name in ("bbf", "der_paper", "spr", "sr_spr")
      else pytest.mark.slow,
    )
    for name in variants.names()
  ],
)
def test_an_update_keeps_the_form_of_the_state(name):
  config = variants.get(name, 6).update
  key = jax.random.key(0)
  state = jax.eval_shape(functools.partial(learner.init, config=config), key)
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
  params = jax.eval_shape(
    lambda: learner.init(jax.random.key(0), config)
  ).params
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
  paper = sizes(variants.get("der_paper", 4).update)
  # Noisy layers from 3x3x64 to 256 twice, to 51 and to 4 * 51 values.
  assert paper == {
    "encoder": (25 * 4 + 1) * 32 + (25 * 32 + 1) * 64,
    "head": 2 * (2 * 577 * 256 + 257 * 255),
  }
  assert sizes(variants.get("drq", 4).update)["head"] == 7745 * 512 + 513 * 5
  bbf = sizes(variants.get("bbf", 4).update)
  assert bbf["predictor"] == 2049 * 2048
  stages = [(4, 64), (64, 128), (128, 128)]
  assert bbf["encoder"] == sum(
    (9 * a + 1) * b + 4 * (9 * b + 1) * b for a, b in stages
  )


SPR = {
  "updates_per_step": 2,
  "num_steps": 10,
  "gamma": 0.99,
  "annealing": None,
  "resets": None,
  "min_replay": 2000,
  "epsilon_train": 0.0,
  "epsilon_decay": 0,
  "epsilon_eval": 0.001,
  "acts_with_target": False,
  "prioritized": True,
  "priority_exponent": 0.5,
  "beta": (0.4, 1.0),
  "new_priority": "one",
  "encoder": ("conv", (32, 64, 64), "VALID"),
  "windows": ((8, 4, 3), (4, 2, 1)),  # kernels, strides
  "dropout": 0.0,
  "hidden": (256, "separate"),
  "noise": (0.5, "out"),  # sigma, fan of biases
  "kinds": (True, 51, True, True),  # noisy, atoms, dueling, double
  "augmentation": "twice",
  "target": (1, 1.0),  # period, tau
  "spr_target": ("momentum", 1.0),
  "norm": "batch",
  "optimizer": (1e-4, 1.5e-4, 0.0, 10.0),  # rate, epsilon, decay, clipping
  "predictions": (5, 5.0),
}
DOPAMINE = {
  **SPR,
  "beta": (0.5, 0.5),
  "new_priority": "max",
  "encoder": ("conv", (32, 64, 64), "SAME"),
  "hidden": (512, "shared"),
  "noise": (0.5, "in"),
  "augmentation": "once",
  "spr_target": ("target", None),
  "norm": "none",
  "optimizer": (1e-4, 1.5e-4, 0.0, None),
}
WITHOUT_SPR = {
  "updates_per_step": 1,
  "min_replay": 1600,
  "spr_target": None,
  "norm": None,
  "predictions": None,
}
RESETTING = {
  "epsilon_decay": 2001,
  "acts_with_target": True,
  "kinds": (False, 51, True, True),
  "target": (1, 0.005),
}
# Tables of the papers, and the settings of the published code.
TABLE = {
  "spr": SPR,
  "spr_no_aug": {
    **SPR,
    "dropout": 0.5,
    "augmentation": None,
    "spr_target": ("momentum", 0.01),
  },
  "der": {
    **DOPAMINE,
    **WITHOUT_SPR,
    "augmentation": None,
    "target": (2000, 1.0),
  },
  "der_paper": {
    **SPR,
    **WITHOUT_SPR,
    "num_steps": 20,
    "new_priority": "max",
    "encoder": ("conv", (32, 64), "VALID"),
    "windows": ((5, 5), (5, 5)),
    "noise": (0.1, "out"),
    "augmentation": None,
    "target": (2000, 1.0),
  },
  "drq": {
    **DOPAMINE,
    **WITHOUT_SPR,
    "kinds": (False, None, True, True),
    "epsilon_train": 0.01,
    "epsilon_decay": 5000,
    "prioritized": False,
  },
  "sr_spr": {
    **DOPAMINE,
    **RESETTING,
    "updates_per_step": 8,
    "resets": (5000, 0.8, 0.2),
  },
  "bbf": {
    **DOPAMINE,
    **RESETTING,
    "resets": (20_000, 0.5, 0.5),
    "annealing": (10_000, (10, 3), (0.97, 0.997)),
    "encoder": ("impala", (64, 128, 128), "SAME"),
    "windows": None,
    "hidden": (2048, "shared"),
    "optimizer": (1e-4, 1.5e-4, 0.1, None),
  },
}


def read(variant):
  """What an agent has of the table."""
  config, found = variant.update, {}
  parts, optimizer = config.networks, config.optimizer
  encoder, head, model = parts.encoder, parts.head, parts.transition
  for field in dataclasses.fields(variant):
    found[field.name] = getattr(variant, field.name)
  del found["update"]
  if variant.resets is not None:
    due = variant.resets
    found["resets"] = (due.every, due.shrink, due.perturb)
  if variant.annealing is not None:
    line = variant.annealing
    found["annealing"] = (
      line.updates,
      (line.first_steps, line.last_steps),
      (line.first_gamma, line.last_gamma),
    )
  channels = tuple(encoder.width * size for size in encoder.channels)
  shift = config.augmentation
  once = "once" if config.shared_next else "twice"
  follows = config.momentum_tau if config.spr_target == "momentum" else None
  return {
    **found,
    "encoder": (encoder.kind, channels, encoder.padding),
    "windows": (encoder.kernels, encoder.strides)
    if encoder.kind == "conv"
    else None,
    "dropout": encoder.dropout,
    "hidden": (head.hidden, head.streams),
    "noise": (head.sigma, head.bias_sigma),
    "kinds": (head.noisy, head.atoms, head.dueling, config.double),
    "augmentation": shift and once,
    "target": (config.target_period, config.target_tau),
    "spr_target": model and (config.spr_target, follows),
    "norm": model and model.norm,
    "optimizer": (
      optimizer.learning_rate,
      optimizer.epsilon,
      optimizer.weight_decay,
      optimizer.max_grad_norm,
    ),
    "predictions": model and (config.num_predictions, config.spr_weight),
  }


@pytest.mark.parametrize("name", variants.names())
def test_agents_are_those_of_the_papers(name):
  assert read(variants.get(name, 6)) == TABLE[name]


def test_the_encoder_of_the_paper_leaves_3x3x64_as_they_are():
  parts = variants.get("der_paper", 6).update.networks
  assert encoders.latent_shape(parts.encoder) == (3, 3, 64)
  assert not parts.encoder.renormalize
  assert parts.head.gradient_scale == 1
  assert not parts.head.advantage_bias


def test_unknown_names_are_refused():
  with pytest.raises(ValueError, match="variant: got .*, expected one of"):
    variants.get("rainbow", 6)
