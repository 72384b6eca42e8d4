"""Planned batches on eight devices against one document at a time."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import collectives
from jaxseq import planner
from jaxseq.planner import baselines
from jaxseq.planner import mixed_lengths
from jaxseq.planner import rows
from tests.planner import models

pytestmark = pytest.mark.devices

_Spec = jax.sharding.PartitionSpec
CAPACITY = 16
DEVICES = 8
COSTS = {
  "recurrent": planner.CostModel(
    "recurrent", 1.0, row_overhead=0.5, state_bytes=2.0, bandwidths=(1.0,)
  ),
  "attention": planner.CostModel(
    "attention", 1.0, square_seconds=0.05, exchange_bytes=1.0, bandwidths=(1.0,)
  ),
}
COSTS |= dict.fromkeys(models.MIXERS, COSTS["recurrent"])


def kinds(*quick):
  """All kinds of models, of which those that are not named are slow."""
  return [
    kind if kind in quick else pytest.param(kind, marks=pytest.mark.slow)
    for kind in models.SPLIT
  ]


def draw_documents(seed, count=14):
  rng = np.random.default_rng(seed)
  lengths = rng.integers(1, CAPACITY + 8, count)
  # One document that only all devices hold, and one of the smallest size.
  lengths[:2] = 5 * CAPACITY + 3, 1
  rng.shuffle(lengths)
  return [rng.integers(models.VOCABULARY, size=n) for n in lengths]


def make_plans(kind, documents):
  lengths = [len(document) for document in documents]
  arguments = lengths, DEVICES, COSTS[kind], float(CAPACITY)
  plans = [planner.plan(*arguments), baselines.by_tokens(*arguments)]
  plans.append(baselines.static(*arguments, degree=DEVICES))
  return plans


def lay_out(kind, plan, documents):
  return rows.lay_out(plan, documents, (CAPACITY,), uniform=kind == "attention")


def bind(kind, on_trace=lambda: None):
  def token_loss(params, wave, axis):
    on_trace()
    return models.token_loss(kind, params, wave, axis)

  return mixed_lengths.make_loss_and_grad(token_loss)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", kinds("recurrent", "attention"))
def test_gradient_does_not_depend_on_the_plan(x64, kind):
  documents = draw_documents(0)
  params = models.init(kind=kind)
  expected = jax.jit(
    jax.value_and_grad(
      lambda params: models.reference_loss(kind, params, *models.pad(documents))
    )
  )(params)
  loss_and_grad = bind(kind)
  degrees = set()
  plans = make_plans(kind, documents)
  assert len({str(plan.rows) for plan in plans}) == 3
  for plan in plans:
    batch = lay_out(kind, plan, documents)
    degrees |= {key.sp_degree for key in batch.keys}
    actual = loss_and_grad(params, batch)
    # Sums of a few hundred terms in float64, in another order.
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10),
      actual,
      expected,
    )
  assert len(degrees) > 1


@pytest.mark.slow
def test_training_does_not_depend_on_the_plan():
  kind = "recurrent"
  documents = [draw_documents(seed, 9) for seed in range(20)]

  def train(loss_and_grad, batches):
    params, losses = jax.tree.map(jnp.float32, models.init()), []
    for batch in batches:
      loss, gradients = loss_and_grad(params, batch)
      params = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradients)
      losses.append(float(loss))
    return losses, params

  @jax.jit
  def one_at_a_time(params, tokens, lengths):
    return jax.value_and_grad(
      lambda params: models.reference_loss(kind, params, tokens, lengths)
    )(params)

  expected, _ = train(
    lambda params, batch: one_at_a_time(params, *batch),
    [models.pad(batch) for batch in documents],
  )
  loss_and_grad = bind(kind)
  for choice in range(3):
    batches = [
      lay_out(kind, make_plans(kind, batch)[choice], batch)
      for batch in documents
    ]
    losses, _ = train(loss_and_grad, batches)
    # float32 sums in another order, over 20 steps.
    np.testing.assert_allclose(losses, expected, rtol=1e-6, atol=0)
  assert expected[-1] < expected[0]


def run_outputs(kind, wave, degree, params):
  mesh = mixed_lengths.make_mesh(degree)
  split = _Spec(mixed_lengths.GROUPS, mixed_lengths.SEQUENCE)
  return jax.jit(
    jax.shard_map(
      lambda params, wave: models.outputs(
        kind, params, wave, mixed_lengths.SEQUENCE
      ),
      mesh=mesh,
      in_specs=(_Spec(), split),
      out_specs=split,
      check_vma=False,
    )
  )(params, wave)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", kinds("recurrent"))
def test_nothing_leaks_between_documents(kind):
  params = models.init(kind=kind)
  # Documents that start at the first and at the last token of a device, that
  # end there, that have one token, and that reach over three devices.
  lengths = [16, 15, 3, 40, 6, 1, 1, 7, 20]
  offsets = np.cumsum([0, *lengths[:-1]])
  assert {0, 15} <= set(offsets % CAPACITY)
  rng = np.random.default_rng(1)
  documents = [rng.integers(models.VOCABULARY, size=n) for n in lengths]
  row = planner.Row(tuple(range(9)), tuple(offsets.tolist()), 8, 0, 0.0)
  plan = planner.Assignment([row], np.ones(8), 1.0, 1.0, "by hand", 0.0)
  batch = lay_out(kind, plan, documents)
  run = functools.partial(run_outputs, kind, degree=8, params=params)
  before = np.asarray(run(batch.waves[0]))
  segment = batch.waves[0].segment
  for index in range(len(documents)):
    changed = list(documents)
    changed[index] = (documents[index] + 1) % models.VOCABULARY
    after = np.asarray(run(lay_out(kind, plan, changed).waves[0]))
    different = (before != after).any(axis=-1)
    assert different[segment == index].all()
    # Bit by bit.
    assert not different[segment != index].any()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
  "kind",
  [
    each
    for each in kinds("recurrent", "linear_attention")
    if each != "attention" and getattr(each, "values", None) != ("attention",)
  ],
)
def test_mixed_groups_of_one_wave_do_not_leak(x64, kind):
  # Groups of 4, 2, 1 and 1 devices side by side in one program.
  lengths, degrees = [60, 20, 9, 16, 7], [4, 2, 1, 1]
  rng = np.random.default_rng(2)
  documents = [rng.integers(models.VOCABULARY, size=n) for n in lengths]
  placed = [
    ((0,), (0,), 0),
    ((1,), (0,), 4),
    ((2, 4), (0, 9), 6),
    ((3,), (0,), 7),
  ]
  plan_rows = [
    planner.Row(ids, offsets, degree, first, 0.0)
    for (ids, offsets, first), degree in zip(placed, degrees)
  ]
  plan = planner.Assignment(plan_rows, np.ones(8), 1.0, 1.0, "by hand", 0.0)
  batch = lay_out(kind, plan, documents)
  assert batch.keys == [rows.Key(2, 64, 4)]
  params = models.init(kind=kind)
  y = run_outputs(kind, batch.waves[0], 4, params)
  for index, document in enumerate(documents):
    x = params["embedding"][document]
    expected = models.ALONE[kind](params, x)
    actual = y[batch.waves[0].segment == index]
    # float64. The scan of a device starts from a gathered state.
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
  "kind", ["recurrent", pytest.param("attention", marks=pytest.mark.slow)]
)
def test_one_compilation_per_key(kind):
  traces = []
  loss_and_grad = bind(kind, lambda: traces.append(1))
  params = models.init()
  keys = set()
  for seed in range(50):
    documents = draw_documents(seed)
    lengths = [len(document) for document in documents]
    plan = planner.plan(lengths, DEVICES, COSTS[kind], float(CAPACITY))
    batch = lay_out(kind, plan, documents)
    keys |= set(batch.keys)
    assert np.isfinite(float(loss_and_grad(params, batch)[0]))
  assert 1 < len(traces) == len(keys) <= 4


def test_groups_exchange_nothing_with_each_other():
  # Of the program of one wave: every collective is among the devices of a
  # group, so that a group that is done goes on alone.
  axes = []

  def token_loss(params, wave, axis):
    axes.append(axis)
    return models.token_loss("attention", params, wave, axis)

  documents = draw_documents(0)
  plan = make_plans("attention", documents)[0]
  batch = lay_out("attention", plan, documents)
  loss_and_grad = mixed_lengths.make_loss_and_grad(token_loss)
  jaxpr = jax.make_jaxpr(lambda params: loss_and_grad(params, batch))(
    models.init()
  )
  used = re.findall(r"axis_name=\(?'?(\w+)", str(jaxpr))
  used += re.findall(r"psum\w*\[[^\]]*axes=\('(\w+)'", str(jaxpr))
  assert len(used) >= 2 * len(set(batch.keys))
  assert set(used) == {mixed_lengths.SEQUENCE} == set(axes)


def test_an_idle_group_keeps_nobody_waiting():
  # Of a ppermute all devices of the program have to be part: a group that left
  # the wave out would keep the others waiting for ever.
  def token_loss(params, wave, axis):
    x = params["embedding"][wave.tokens].sum(axis=-1)
    pairs = [(i, i + 1) for i in range(jax.lax.axis_size(axis) - 1)]
    before = jax.lax.ppermute(x[:, -1:], axis, pairs)
    x = jnp.concatenate([before, x[:, :-1]], axis=1)
    return jnp.sum(jnp.where(wave.mask, x, 0))

  documents = [np.arange(40) % models.VOCABULARY]
  row = planner.Row((0,), (0,), 4, 4, 0.0)
  plan = planner.Assignment([row], np.ones(8), 1.0, 1.0, "by hand", 0.0)
  batch = lay_out("attention", plan, documents)
  np.testing.assert_array_equal(batch.active[0], [False, True])
  params = {"embedding": jnp.float32(models.init()["embedding"])}
  loss, gradients = mixed_lengths.make_loss_and_grad(token_loss)(params, batch)
  # Each of the first 38 tokens is what the next one is scored by.
  counts = np.bincount(documents[0][:-2], minlength=models.VOCABULARY) / 39
  sums = np.asarray(params["embedding"]).sum(axis=-1)
  # float32 sums of 38 terms.
  np.testing.assert_allclose(loss, counts @ sums, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(
    gradients["embedding"], np.tile(counts[:, None], models.WIDTH), rtol=1e-5
  )
  assert mixed_lengths.make_loss(token_loss)(params, batch) == loss


def test_bytes_exchanged_are_those_of_the_cost_model():
  # One layer whose summary is a decay and a state, float32.
  model = planner.CostModel(
    "recurrent", 1.0, state_bytes=2 * models.WIDTH * 4, bandwidths=(1.0,)
  )
  params = jax.tree.map(jnp.float32, models.init())
  for degree in (2, 8):
    key = rows.Key(DEVICES // degree, degree * CAPACITY, degree)
    batch = rows.Batch([key], [rows.empty(key)], [np.ones(key.rows, bool)], 1)
    run = functools.partial(bind("recurrent"), batch=batch)
    received = 0
    for name, size in (
      (each.name, each.size) for each in collectives.exchanges(run, params)
    ):
      # A device gets the others' parts, or their addends to its own part.
      part = {"all_gather": size, "reduce_scatter": size // degree}[name]
      received += (degree - 1) * part * 4
    # With links of one byte per second, seconds are bytes.
    assert received == model.comm(degree, CAPACITY)


def test_a_batch_without_a_target_is_refused():
  plan = planner.plan([1, 1], DEVICES, COSTS["recurrent"], float(CAPACITY))
  batch = lay_out("recurrent", plan, [np.zeros(1, int)] * 2)
  with pytest.raises(
    ValueError, match="batch: got no target, expected a document of at least 2"
  ):
    bind("recurrent")(models.init(), batch)
