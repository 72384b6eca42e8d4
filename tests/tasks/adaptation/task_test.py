"""Adapted networks: what changes, what stays, and what is the same packed."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import data
from jaxseq import nn
from jaxseq.adapt import lora
from jaxseq.data import chat_sets
from jaxseq.tasks import adaptation
from jaxseq.tasks import language
from jaxseq.tasks.adaptation import chat_adaptation
from jaxseq.tasks.adaptation import preference
from jaxseq.training import recipes
from jaxseq.training import supervised
from jaxseq.training.comparison import supervised_arms


@functools.cache
def _base(mixer="gru"):
  stack = nn.StackConfig(mixer, d_model=8, num_layers=1)
  network = nn.SequenceNetwork(nn.NetworkConfig(stack), 256, 256)
  variables = jax.jit(network.init)(
    jax.random.key(0), jnp.zeros((1, 1), jnp.int32)
  )
  return adaptation.Base(network, jax.tree.map(np.asarray, variables))


def _arm(**options):
  recipe = recipes.Recipe(name="plain", learning_rate=3e-2, schedule="constant")
  options = {"batch_size": 8, "adapters": lora.Config(r"stack\..*")} | options
  network = _base().network.config
  return adaptation.ArmConfig(network, recipe, **options)


@functools.cache
def _parts(name):
  splits = data.load(name)
  parts = {"train": splits.train, "valid": splits.valid, "test": splits.test}
  return {k: chat_sets.examples(part) for k, part in parts.items()}


def _trained(problem, arm, count):
  optimizer = adaptation.make_optimizer(arm, count)
  start = jax.jit(
    lambda key, data: supervised.init(problem, optimizer, key, data)
  )(jax.random.key(1), problem.data)
  train = jax.jit(
    lambda state, data: supervised.train(problem, optimizer, state, data, count)
  )
  return start, train(start, problem.data), train


def test_adapters_are_trained_and_the_network_stays_as_it_is():
  arm = _arm(adapter_dropout=0.1)
  problem = chat_adaptation.ChatProblem(arm, _base(), _parts("sums"), length=32)
  frozen = jax.tree.map(jnp.asarray, problem.data["base"])
  before = jax.tree.map(np.array, frozen)
  problem.data["base"] = frozen
  start, (state, metrics), train = _trained(problem, arm, 50)
  jax.tree.map(np.testing.assert_array_equal, frozen, before)
  jax.tree.map(np.testing.assert_array_equal, _base().variables, before)
  # Nothing else has a state of the optimizer, or is in checkpoints.
  assert set(state.variables) == {"params", "base"}
  assert state.variables["base"]["sha256"].shape == (8,)
  assert set(state.variables["params"]) == set(
    lora.init(
      jax.random.key(0), problem.network, _base().variables, arm.adapters
    )
  )
  first = jax.jit(problem.evaluate)(start.variables, problem.data)
  last = jax.jit(problem.evaluate)(state.variables, problem.data)
  assert last["test_loss"] < first["test_loss"] - 0.05
  np.testing.assert_allclose(
    last["bits_per_byte"], last["test_loss"] / np.log(2), rtol=1e-5
  )
  # The network is an argument of the program, not a constant in it.
  other = jax.tree.map(lambda x: 1.5 * x, frozen)
  _, changed = train(start, {**problem.data, "base": other})
  assert train._cache_size() == 1
  assert changed["loss"] != metrics["loss"]


def test_the_average_of_training_changes_no_metric_of_tests():
  found, weights = [], []
  for average in ("token", "example"):
    arm = _arm(average=average)
    parts = _parts("sums")
    problem = chat_adaptation.ChatProblem(arm, _base(), parts, length=32)
    optimizer = adaptation.make_optimizer(arm, 1)
    start = supervised.init(problem, optimizer, jax.random.key(1), problem.data)
    arguments = start.variables, problem.data
    found.append(
      {
        "test": jax.jit(problem.evaluate)(*arguments),
        "valid": jax.jit(problem.validate)(*arguments),
      }
    )
    weights.append(problem.data["train"].weight.sum())
  chex.assert_trees_all_close(*found, rtol=1e-5)
  assert weights[0] != weights[1]


def test_packed_rows_have_the_loss_of_unpacked_ones_through_adapters():
  arm = _arm()
  rows, frozen = [], _base("mamba2").variables
  for together in (True, False):
    arm = dataclasses.replace(arm, together=together)
    problem = chat_adaptation.ChatProblem(
      arm, _base("mamba2"), _parts("sums"), length=32
    )
    rows.append(problem.data["train"])
  assert len(rows[0].tokens) < len(rows[1].tokens) / 2
  method = adaptation.make_method(arm, _base("mamba2"))
  params = method.init(jax.random.key(2), frozen)
  params = jax.tree.map(lambda leaf: leaf + 0.05, params)

  @jax.jit
  def graded(params, batch):
    def loss(params):
      variables = method.training(frozen, params, jax.random.key(0))
      outputs = problem.network.apply(variables, *problem.inputs(batch))
      return problem.score(outputs, batch)[0]["test_loss"]

    return jax.value_and_grad(loss)(params)

  packed, alone = (graded(params, batch) for batch in rows)
  # Sums of some thousand numbers of size 1, in float32 in another order.
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-6),
    packed,
    alone,
  )


@pytest.mark.slow
def test_preferences_begin_at_the_reference_and_rise():
  arm = _arm()
  problem = chat_adaptation.PreferenceProblem(
    arm, _base(), _parts("sum_preferences"), length=16
  )
  batch = problem.data["test"]
  logits, _ = problem.network.apply(
    _base().variables, batch.rows.tokens[:, 1], None, batch.rows.reset[:, 1]
  )
  logs = np.asarray(jax.nn.log_softmax(logits))
  # The answers of the first pair, in words and as a number, byte by byte.
  targets, scored = (
    x[0, 1] for x in (batch.rows.targets, batch.rows.weight > 0)
  )
  answer = bytes(targets[scored].astype(np.uint8))
  assert answer.strip().isdigit()
  assert answer.endswith(b"\n")
  each = logs[0, np.arange(len(targets)), targets]
  np.testing.assert_allclose(
    batch.reference[0, 1], each[scored].sum(), rtol=1e-5
  )
  start, (state, _), _ = _trained(problem, arm, 40)
  evaluate = jax.jit(problem.evaluate)
  first = evaluate(start.variables, problem.data)
  np.testing.assert_allclose(first["test_loss"], np.log(2), rtol=1e-5)
  np.testing.assert_allclose(first["margin"], 0, atol=1e-5)
  last = evaluate(state.variables, problem.data)
  assert last["margin"] > 0.05
  assert last["accuracy"] > 0.9
  assert last["valid_loss"] < np.log(2) - 0.02


def test_losses_without_a_reference_compute_none(monkeypatch):
  arm, adapted = _arm(pairs=preference.Config("simpo", beta=2.0)), _base()
  monkeypatch.setattr(nn.SequenceNetwork, "apply", None)
  problem = chat_adaptation.PreferenceProblem(
    arm, adapted, _parts("sum_preferences"), length=16
  )
  assert not problem.data["test"].reference.any()


@pytest.mark.slow
def test_a_text_goes_on_with_carried_states():
  rng = np.random.default_rng(0)
  tokens = rng.integers(97, 101, 900).astype(np.uint8)
  text = language.Text(tokens, np.arange(900) == 0)
  corpus = language.Corpus(text, text, text, 256)
  arm = _arm(method="full", batch_size=2)
  problem = adaptation.TextProblem(
    arm, _base()._replace(start=7), corpus, length=16, bytes_per_token=2.0
  )
  (piece, frozen) = problem.sample(jax.random.key(0), 0, problem.data)
  assert frozen is problem.data["base"]
  assert piece[0][0, 0] == 7
  start, (state, _), _ = _trained(problem, arm, 30)
  jax.tree.map(
    np.testing.assert_array_equal,
    start.variables["params"],
    _base().variables["params"],
  )
  evaluate = jax.jit(problem.evaluate)
  assert evaluate(start.variables, problem.data)["bits_per_byte"] > 3
  # Four letters are two bits, and a token is two bytes here.
  assert evaluate(state.variables, problem.data)["bits_per_byte"] < 1.4


@pytest.mark.slow
@pytest.mark.parametrize(
  "method", ["states", pytest.param("lora+states", marks=pytest.mark.slow)]
)
def test_states_are_tuned_on_chats_in_rows_of_their_own(method):
  arm = _arm(method=method)
  problem = chat_adaptation.ChatProblem(arm, _base(), _parts("sums"), length=32)
  for part in ("train", "test"):
    # One chat a row, and what fills it up.
    assert (problem.data[part].reset.sum(axis=1) <= 2).all()
  start, (state, _), _ = _trained(problem, arm, 50)
  first, last = (
    jax.jit(problem.evaluate)(variables, problem.data)["test_loss"]
    for variables in (start.variables, state.variables)
  )
  assert last < first - 0.01
  params = state.variables["params"]
  if method == "lora+states":
    assert set(params) == {"lora", "states"}
    assert all(np.any(leaf) for leaf in jax.tree.leaves(params))
  else:
    assert set(params) == {"0/h"}


@pytest.mark.slow
def test_pieces_of_a_text_that_begin_afresh():
  rng = np.random.default_rng(0)
  tokens = rng.integers(97, 101, 900).astype(np.uint8)
  text = language.Text(tokens, np.arange(900) % 300 == 0)
  corpus = language.Corpus(text, text, text, 256)
  arm = _arm(method="states", batch_size=2)
  options = {"length": 16, "valid_tokens": 70}
  with pytest.raises(ValueError, match="fresh: got False, expected True"):
    adaptation.TextProblem(arm, _base(), corpus, **options)
  problem = adaptation.TextProblem(arm, _base(), corpus, fresh=True, **options)
  start, (state, _), _ = _trained(problem, arm, 30)
  evaluate = jax.jit(problem.evaluate)
  first = evaluate(start.variables, problem.data)["bits_per_byte"]
  last = evaluate(state.variables, problem.data)["bits_per_byte"]
  assert last < first - 0.05
  # Each piece alone, by the base as the states are zeros.
  rows = problem.data["valid"].tokens[:, :32].reshape(4, 16).astype(np.int32)
  inputs = np.pad(rows[:, :-1], [(0, 0), (1, 0)])
  logits, _ = _base().network.apply(_base().variables, inputs)
  logs = np.asarray(jax.nn.log_softmax(logits))
  each = np.take_along_axis(logs, rows[..., None], axis=-1)
  np.testing.assert_allclose(first, -each.mean() / np.log(2), rtol=1e-5)


@pytest.mark.slow
def test_seeds_share_the_network():
  arm = _arm()
  problem = chat_adaptation.ChatProblem(arm, _base(), _parts("sums"), length=32)
  config = supervised_arms.Supervised(
    arms={"a": {}}, num_seeds=2, num_updates=2, updates_per_chunk=2
  )
  made = supervised_arms.Arm(
    problem, adaptation.make_optimizer(arm, 2), "valid_loss", 8
  )
  program = made.program(config)
  state = program.init()
  assert jax.tree.leaves(program.template())[0].shape[0] == 2
  for leaf in jax.tree.leaves(state.variables):
    assert leaf.shape[0] == 2
  state, _ = program.chunk(state, 2)
  assert state.update.tolist() == [2, 2]


def test_dropout_without_a_share_of_elements_is_refused():
  with pytest.raises(ValueError, match="dropout: got 1"):
    adaptation.make_method(_arm(adapter_dropout=1.0), _base())
