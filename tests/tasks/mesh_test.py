"""Tasks on several devices: no number changes but by rounding."""

import dataclasses

import jax
import numpy as np
import pytest

import jaxseq
from jaxseq import nn
from jaxseq.data import trajectories
from jaxseq.tasks import base
from jaxseq.tasks import decision
from jaxseq.tasks import events
from jaxseq.tasks import language
from jaxseq.tasks.events import arms as event_arms
from jaxseq.training.devices import device_mesh
from tests.training.devices import device_mesh_test

pytestmark = pytest.mark.devices

LENGTH = 8


NETWORK = nn.NetworkConfig(nn.StackConfig("gru", d_model=8, num_layers=1))


def language_problem(config, jump_every=None, network=NETWORK):
  """A GRU on texts in which documents begin at every fifth place or so."""
  rng = np.random.default_rng(0)

  def text(count):
    tokens = rng.integers(1, 7, count).astype(np.uint8)
    starts = rng.random(count) < 0.2
    starts[0] = True
    return language.Text(tokens, starts)

  corpus = language.Corpus(text(256), text(96), text(96), 7)
  arm = base.ArmConfig(network, batch_size=4)
  return language.Problem(
    device_mesh.split_time(config, arm),
    corpus,
    length=LENGTH,
    jump_every=jump_every,
    valid_tokens=96,
  )


@pytest.mark.parametrize(
  "jump_every", [pytest.param(None, marks=pytest.mark.slow), 2]
)
@pytest.mark.parametrize(
  "fields",
  [
    {"time": 2},
    pytest.param({"time": 4}, marks=pytest.mark.slow),
    pytest.param(
      {"data": 2, "parameters": 2, "time": 2}, marks=pytest.mark.slow
    ),
  ],
  ids=str,
)
def test_language(fields, jump_every):
  check(lambda config: language_problem(config, jump_every), fields)


@pytest.mark.slow
def test_turns_of_devices_with_parts_of_the_parameters():
  """Wide enough that a device keeps a part; gated networks take turns."""
  stack = dataclasses.replace(NETWORK.stack, d_model=32, time_scheme="relay")
  wide = nn.NetworkConfig(stack)
  check(
    lambda config: language_problem(config, network=wide),
    {"parameters": 2, "time": 2},
  )


def decision_problem(config):
  """A GRU that imitates the players of episodes of 3 to 16 steps."""
  rng = np.random.default_rng(0)
  dones = np.zeros(48, bool)
  dones[[4, 7, 19, 31, 47]] = True
  recorded = trajectories.from_flat(
    rng.normal(size=(48, 4)),
    rng.integers(0, 3, 48),
    rng.uniform(size=48),
    dones,
  )
  arm = device_mesh.split_time(
    config, decision.ArmConfig(NETWORK, batch_size=4)
  )
  return decision.Problem(
    arm,
    decision.make_model(arm, decision.Actions("discrete", 3), 16),
    recorded,
    # Three tokens for each step.
    context=LENGTH,
    play=lambda variables, scale: {"returns": scale.returns},
  )


def events_problem(config):
  """A GRU before and after each of seven events: eight elements."""
  splits = jaxseq.data.load(
    "hawkes", seed=2, train=16, valid=4, test=6, horizon=40.0
  )

  def cut(part):
    shorten = lambda x: x[:, : LENGTH - 1] if x.ndim > 1 else x  # noqa: E731
    extras = jax.tree.map(shorten, part.extras)
    assert part.inputs.shape[1] >= LENGTH - 1
    return part._replace(
      inputs=shorten(part.inputs),
      targets=shorten(part.targets),
      lengths=np.minimum(part.lengths, LENGTH - 1),
      extras=extras,
    )

  parts = {
    name: cut(getattr(splits, name)) for name in ("train", "valid", "test")
  }
  arm = event_arms.ArmConfig(NETWORK, batch_size=4, components=3, mark_width=4)
  return events.Problem(
    device_mesh.split_time(config, arm), splits._replace(**parts)
  )


@pytest.mark.slow
@pytest.mark.parametrize(
  "fields",
  [
    {"data": 2, "time": 2},
    pytest.param({"data": 4}, marks=pytest.mark.slow),
    pytest.param({"data": 2, "parameters": 2}, marks=pytest.mark.slow),
    pytest.param({"time": 8}, marks=pytest.mark.slow),
  ],
  ids=str,
)
@pytest.mark.parametrize(
  "make",
  [decision_problem, pytest.param(events_problem, marks=pytest.mark.slow)],
)
def test_decision_and_events(make, fields):
  check(make, fields)


def check(make, fields):
  """Trains on a mesh with such fields, and on one device."""
  alone = device_mesh.MeshConfig()
  config = dataclasses.replace(alone, **fields)
  (state, metrics), (expected_state, expected) = (
    device_mesh_test.train(mesh, task=make(mesh)) for mesh in (config, alone)
  )
  # float32, sums in another order, four updates.
  for a, b in zip(jax.tree.leaves(metrics), jax.tree.leaves(expected)):
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)
  for a, b in zip(
    jax.tree.leaves(state.variables), jax.tree.leaves(expected_state.variables)
  ):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
