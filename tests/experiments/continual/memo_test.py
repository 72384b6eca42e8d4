"""Growing networks against MEMO's released code, with linear blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.continual import exemplars
from experiments.continual import memo
from jaxseq.tasks import losses

pytestmark = pytest.mark.usefixtures("x64")
TASKS, WIDTH, CLASSES = 3, 3, 7


@pytest.fixture(scope="module")
def arrays(golden):
  return golden("continual/memo_head")


def _blocks(arrays, place, task):
  """The blocks in places for all tasks; those to come are garbage."""

  def stacked(name):
    rows = [
      arrays[f"{place}/AdaptiveExtractors.{min(t, task)}.l.{name}"]
      for t in range(TASKS)
    ]
    garbage = np.arange(TASKS).reshape((-1,) + (1,) * (rows[0].ndim)) > task
    return jnp.asarray(np.where(garbage, 7.0, np.stack(rows)))

  return {"weight": stacked("weight"), "bias": stacked("bias")}


def _head(weight, bias, task, classes):
  """The read-out in places for all tasks and classes, the rest garbage."""
  kernel = np.full((TASKS, WIDTH, CLASSES), 5.0)
  spread = weight.T.reshape(task + 1, WIDTH, classes)
  kernel[: task + 1, :, :classes] = spread
  return jnp.asarray(kernel), jnp.asarray(
    np.r_[bias, np.full(CLASSES - classes, 9.0)]
  )


def _relu(x, weight, bias):
  return jax.nn.relu(x @ weight.T + bias)


@pytest.mark.parametrize(
  "task", [*(pytest.param(x, marks=pytest.mark.slow) for x in (0, 1)), 2]
)
def test_growth_losses_and_alignment(arrays, task):
  sizes = arrays["task_sizes"]
  old, classes = int(sizes[:task].sum()), int(sizes[: task + 1].sum())
  place = f"t{task}/trained"
  if task:
    blocks = memo.grown(_blocks(arrays, f"t{task - 1}/trained", task - 1), task)
    for name, x in blocks.items():
      after = arrays[f"t{task}/init/AdaptiveExtractors.{task}.l.{name}"]
      np.testing.assert_array_equal(x[task], after)
  blocks = _blocks(arrays, place, task)
  x, y = (jnp.asarray(arrays[f"t{task}/{name}"]) for name in "xy")
  base = "TaskAgnosticExtractor.l"
  shared = _relu(
    x, *(arrays[f"{place}/{base}.{n}"] for n in ("weight", "bias"))
  )
  features = jax.vmap(lambda block: _relu(shared, **block))(blocks)
  beside = jnp.concatenate(list(features[: task + 1]), axis=1)
  np.testing.assert_allclose(beside, arrays[f"t{task}/features"], rtol=1e-10)
  weight, bias = (arrays[f"{place}/fc.{n}"] for n in ("weight", "bias"))
  kernel, bias = _head(weight, bias, task, classes)
  logits = memo.read_out(features, kernel, bias, task, classes)
  np.testing.assert_allclose(
    logits[:, :classes], arrays[f"t{task}/logits"], rtol=1e-9
  )
  value = losses.cross_entropy(logits, y)[0]
  np.testing.assert_allclose(value, arrays[f"t{task}/loss"], rtol=1e-9)

  targets = memo.auxiliary_targets(y, old)
  np.testing.assert_array_equal(targets, arrays[f"t{task}/aux_targets"])
  aux = [arrays[f"{place}/aux_fc.{n}"] for n in ("weight", "bias")]
  logits = features[task] @ aux[0].T + aux[1]
  np.testing.assert_allclose(logits, arrays[f"t{task}/aux_logits"], rtol=1e-9)
  value = losses.cross_entropy(logits, targets)[0]
  np.testing.assert_allclose(value, arrays[f"t{task}/aux_loss"], rtol=1e-9)

  fair = memo.aligned(kernel, task, old, classes)
  if not task:
    np.testing.assert_array_equal(fair, kernel)
    return
  expected, _ = _head(
    arrays[f"t{task}/aligned_fc"], bias[:classes], task, classes
  )
  np.testing.assert_allclose(fair, expected, rtol=1e-9)
  logits = memo.read_out(features, fair, bias, task, classes)[:, :classes]
  np.testing.assert_allclose(
    logits, arrays[f"t{task}/aligned_logits"], rtol=1e-9
  )


@pytest.mark.slow
def test_only_the_newest_block_and_its_reach_are_trained(arrays):
  blocks = _blocks(arrays, "t1/trained", 1)
  weight, bias = (arrays[f"t1/trained/fc.{n}"] for n in ("weight", "bias"))
  kernel, bias = _head(weight, bias, 1, 5)
  shared = jax.random.normal(jax.random.key(0), (4, 5))

  def loss(blocks, kernel, bias):
    features = jax.vmap(lambda block: _relu(shared, **block))(
      memo.frozen(blocks, 1)
    )
    logits = memo.read_out(features, kernel, bias, 1, 5)
    return losses.cross_entropy(logits, jnp.array([0, 4, 2, 3]))[0]

  slopes, kernel, bias = jax.grad(loss, (0, 1, 2))(blocks, kernel, bias)
  assert [bool((x != 0).any()) for x in slopes["weight"]] == [
    False,
    True,
    False,
  ]
  assert (kernel[:2, :, :5] != 0).any()
  assert not kernel[2].any()
  assert not kernel[..., 5:].any()
  assert not bias[5:].any()


def test_exemplars_for_equal_bytes(golden):
  arrays = golden("continual/memo_budget")
  (each, bytes_of) = arrays["image_bytes"], arrays["bytes_per_param"]
  rows = zip(*(arrays[x] for x in ("method", "init_classes", "increment")))
  for row, (_, first, more) in enumerate(rows):
    tasks = 1 + (arrays["num_classes"] - first) // more
    # A whole network for each task, and 2,000 exemplars.
    budget = tasks * arrays["resnet32_params"] * bytes_of
    budget += arrays["base_exemplars"] * each
    held = arrays["total_params"][row] * bytes_of
    more = exemplars.capacity(budget, held, each) - arrays["base_exemplars"]
    assert more == arrays["extra_exemplars"][row]
