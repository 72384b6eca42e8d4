"""Arms side by side: the numbers of separate runs, also after an interruption.

The toy finds the mean of numbers; its carry scales the loss.
"""

import json
import shutil
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseq.training import checkpoint
from jaxseq.training import scalars
from jaxseq.training import supervised
from jaxseq.training.comparison import run
from jaxseq.training.comparison import stacked
from jaxseq.training.comparison import supervised_arms

SCALES = {"fast": 1.0, "slow": 0.02}


def _arm(scale, stack):
  data = {"x": np.linspace(0, 1, 8, dtype=np.float32)}

  def sample(key, update, data):
    return jnp.take(data["x"], supervised.draw(key, update, 8, 4))

  def loss(variables, batch, carry, key):
    del key
    value = carry * jnp.mean((variables["params"]["w"] - batch) ** 2)
    return value, supervised.Loss({"parts": {"first": value}}, {}, carry)

  def evaluate(variables, data):
    return {"error": jnp.abs(variables["params"]["w"] - data["x"].mean())}

  def init(key):
    return {"params": {"w": jax.random.normal(key, ()) + 3}}

  problem = types.SimpleNamespace(
    init=init,
    sample=sample,
    loss=loss,
    validate=evaluate,
    evaluate=evaluate,
    data=data,
    carry=jnp.float32(scale),
  )
  return supervised_arms.Arm(problem, optax.sgd(0.05), "error", 4, stack=stack)


def _run(directory, stack):
  config = supervised_arms.Supervised(
    arms={name: {} for name in SCALES},
    num_seeds=2,
    num_updates=40,
    updates_per_chunk=10,
    chunks_per_checkpoint=2,
    tensorboard=False,
  )
  arms = {name: _arm(scale, stack) for name, scale in SCALES.items()}
  return run.train(config, directory, arms)


def _rows(directory):
  rows = scalars.read(directory)
  clocks = scalars.WALL_CLOCK_FIELDS
  return [{k: v for k, v in row.items() if k not in clocks} for row in rows]


@pytest.mark.slow
def test_as_separate_runs(tmp_path):
  alone = _run(tmp_path / "alone", None)
  together = _run(tmp_path / "together", 0)
  assert list(together) == list(alone) == list(SCALES)
  for name in SCALES:
    # One operation at a time, in float32: the same to rounding.
    np.testing.assert_allclose(
      together[name]["error"], alone[name]["error"], rtol=1e-5
    )
    rows = [_rows(tmp_path / way / name) for way in ("alone", "together")]
    assert [row["step"] for row in rows[0]] == [10, 20, 20, 30, 40, 40]
    for one, other in zip(*rows, strict=True):
      assert one.keys() == other.keys()
      for key, value in one.items():
        np.testing.assert_allclose(value, other[key], rtol=1e-5)
  assert together["fast"]["error"] != together["slow"]["error"]

  # As if it had been killed after the first of the last checkpoints.
  directory = tmp_path / "together"
  shutil.rmtree(directory / "slow" / "checkpoints" / "40")
  before = {name: _rows(directory / name) for name in SCALES}
  again = _run(directory, 0)
  for name in SCALES:
    assert again[name]["error"] == together[name]["error"]
    assert json.dumps(_rows(directory / name)) == json.dumps(before[name])


def test_damage_in_one_arm(tmp_path, caplog):
  paths = [tmp_path / "a", tmp_path / "b"]
  tree = {"x": jnp.arange(4.0), "key": jax.random.split(jax.random.key(0), 4)}
  with stacked.Checkpointers(paths, keep=3) as both:
    assert both.restore(tree) is None
    both.save(1, tree)
    both.save(2, jax.tree.map(lambda x: x[::-1], tree))
    both.wait()
  shutil.rmtree(tmp_path / "b" / "checkpoints" / "2" / "state")
  with stacked.Checkpointers(paths, keep=3) as both:
    step, restored = both.restore(tree)
    assert step == 1
    np.testing.assert_array_equal(restored["x"], tree["x"])
    assert (restored["key"] == tree["key"]).all()
    with pytest.raises(checkpoint.CheckpointError, match="another model"):
      both.restore({"x": tree["x"]})
    # The step is made again, whole in both.
    assert "Damaged checkpoints in" in caplog.text
    later = jax.tree.map(lambda x: x[::-1], tree)
    both.save(2, later)
    step, restored = both.restore(tree)
    assert step == 2
    np.testing.assert_array_equal(restored["x"], later["x"])
