"""Pictures by pixels and by codes: losses, floors, what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import data
from jaxseq import nn
from jaxseq.nn import multiscale
from jaxseq.nn import picture_codec
from jaxseq.tasks import pictures
from jaxseq.tasks.pictures import picture_codes

CODEC = picture_codec.CodecConfig(
  multiscale.ScalesConfig((1, 2), width=3, codes=5), 2, 4, blocks=0
)


def splits_of(count=12, size=4, **fields):
  rng = np.random.default_rng(0)
  inputs = rng.uniform(size=(count, size, size)).astype(np.float32)
  part = data.ArrayDataset(inputs, np.arange(count, dtype=np.int32) % 3)
  info = data.Info("what", "from where", "none", num_classes=3)
  return data.Splits(part, None, part, dataclasses.replace(info, **fields))


def arm_of(**fields):
  network = nn.NetworkConfig(nn.StackConfig("gru", d_model=4, num_layers=1))
  return picture_codes.ArmConfig(
    **{"network": network, "codec": CODEC, "batch_size": 4, **fields}
  )


def test_floors_are_those_of_counting():
  train = np.array([[0, 1, 1, 0], [0, 1, 0, 0], [1, 1, 1, 1]])
  rows = pictures.by_counting(train, train[:1], 2, (2, 2))
  share = (np.bincount(train.ravel()) + 1) / 14
  nats = -2 * np.log(share).sum()
  assert rows["histogram"]["test_loss"] == pytest.approx(nats)
  assert rows["histogram"]["bits"] == pytest.approx(nats / 4 / np.log(2))
  place = (np.array([2, 3, 2, 2]) + share[train[0]]) / 4
  assert rows["histogram of each place"]["test_loss"] == pytest.approx(
    -np.log(place).sum()
  )
  without = pictures.by_counting(train, train[:1], 2)
  assert "place, left and above" not in without
  chain = np.random.default_rng(0).integers(0, 2, (400, 1)).repeat(9, axis=1)
  rows = pictures.by_counting(chain[:300], chain[300:], 2, (3, 3))
  assert rows["histogram of each place"]["bits"] > 0.98
  # One bit for the first pixel, and little for those that follow from it.
  assert 1 / 9 < rows["place, left and above"]["bits"] < 0.2


def test_losses_are_those_of_the_symbols():
  splits = splits_of()
  problem = pictures.Problem(arm_of(levels=3), splits)
  batch = problem.data["test"]
  top = np.round(splits.test.inputs.reshape(12, 16) * 2)
  np.testing.assert_array_equal(batch.symbols, top)
  logits = np.random.default_rng(1).normal(size=(12, 16, 3))
  metrics, count = problem.score(jnp.asarray(logits), batch)
  assert count == 12
  logs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
  nats = -np.take_along_axis(logs, batch.symbols[..., None], -1).sum() / 12
  np.testing.assert_allclose(metrics["test_loss"], nats, rtol=1e-5)
  bits = nats / 16 / np.log(2)
  np.testing.assert_allclose(metrics["bits"], bits, rtol=1e-5)


@pytest.mark.slow
def test_codes_are_written_by_their_codec():
  splits = splits_of()
  codes = picture_codes.Problem(arm_of(objective="codes"), splits)
  variables = jax.jit(codes.init)(jax.random.key(0))
  codec = pictures.Codec(CODEC, jax.tree.map(np.asarray, variables))
  problem = pictures.Problem(arm_of(by_class=True), splits, codec)
  outputs, scales = jax.jit(codes.network.apply)(variables, splits.test.inputs)
  np.testing.assert_array_equal(problem.data["test"].symbols, scales.codes)
  held = jax.jit(problem.init)(jax.random.key(1))
  jax.tree.map(
    np.testing.assert_array_equal, held["codec"]["variables"], variables
  )
  apply = jax.jit(problem.network.apply, static_argnames="method")
  drawn = apply(held, scales.codes, method="pictures")
  np.testing.assert_allclose(drawn, np.clip(outputs, 0, 1), atol=1e-5)
  batch = jax.tree.map(jnp.asarray, problem.data["train"])
  gradient = jax.jit(
    jax.grad(
      lambda held: problem.loss(held, batch, None, jax.random.key(0))[0],
      allow_int=True,
    )
  )(held)
  assert all(jnp.abs(x).max() > 0 for x in jax.tree.leaves(gradient["params"]))


@pytest.mark.slow
def test_codes_that_are_not_used_are_restarted_and_measured():
  splits = splits_of()
  problem = picture_codes.Problem(
    arm_of(objective="codes", restart_after=1), splits
  )
  variables = jax.jit(problem.init)(jax.random.key(0))
  book = variables["params"]["quantizer"]["codebook"]
  # One code is nearest to everything.
  variables["params"]["quantizer"]["codebook"] = book.at[1:].add(100.0)
  before = problem.measure(variables, problem.data["test"])
  assert before["usage"] == pytest.approx(0.2)
  assert before["perplexity"] == pytest.approx(1.0)
  _, loss = problem.loss(
    variables, problem.data["train"], None, jax.random.key(1)
  )
  state = loss.collections["restarts"]["quantizer"]["codebook"]
  moved = np.abs(state["shift"]).max(axis=1) > 0
  np.testing.assert_array_equal(moved, [False] + 4 * [True])
  assert not state["idle"].any()
  scales = problem.by_scale(variables, splits.test.inputs)
  np.testing.assert_allclose(
    scales["unexplained"][-1], before["unexplained"], rtol=1e-5
  )


def test_what_is_refused():
  flat = splits_of()
  flat = flat._replace(
    train=flat.train._replace(inputs=flat.train.inputs.reshape(12, 16, 1))
  )
  for kind in (pictures.Problem, picture_codes.Problem):
    with pytest.raises(ValueError, match=r"the data: got .*\(12, 16, 1\)"):
      kind(arm_of(), flat)
  with pytest.raises(ValueError, match="codec: got .4, .* expected .*6"):
    picture_codes.Problem(arm_of(), splits_of(size=6))
  with pytest.raises(ValueError, match="by_class: got True"):
    pictures.Problem(arm_of(by_class=True), splits_of(num_classes=None))
  both = nn.NetworkConfig(nn.StackConfig("gru", bidirectional=True))
  with pytest.raises(ValueError, match="bidirectional: got True"):
    pictures.Problem(arm_of(network=both), splits_of())
