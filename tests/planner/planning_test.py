"""Plans: what must hold of every one, how good they are, how fast."""

import time

import hypothesis
from hypothesis import strategies
import numpy as np
import pytest

from benchmarks import document_lengths
from jaxseq import planner
from jaxseq.planner import baselines
from jaxseq.planner import costs
from jaxseq.planner import rows
from jaxseq.planner import workload
from tests.planner import simulation

CAPACITY = 64


def make_costs(kind, chunks=()):
  """Costs of which no part can be neglected."""
  return planner.CostModel(
    kind,
    token_seconds=1.0,
    square_seconds=0.01 if kind == "attention" else 0.0,
    bytes_per_token=3.0,
    fixed_bytes=50.0,
    row_overhead=2.0,
    layers=2,
    latency=0.1,
    exchange_bytes=4.0,
    state_bytes=8.0,
    bandwidths=(20.0, 10.0, 2.0),
    chunks=chunks,
  )


def memory_of(cost_model, capacity=CAPACITY):
  return cost_model.fixed_bytes + capacity * cost_model.bytes_per_token


def check(plan, lengths, num_devices, cost_model, memory):
  """What must hold of every plan."""
  lengths = np.asarray(lengths)
  placed = [i for row in plan.rows for i in row.doc_ids]
  assert sorted(placed) == list(range(len(lengths)))
  for row in plan.rows:
    sizes = lengths[list(row.doc_ids)]
    ends = np.array(row.offsets) + sizes
    assert row.offsets[0] == 0
    np.testing.assert_array_equal(row.offsets[1:], ends[:-1])
    assert row.degree & (row.degree - 1) == 0
    assert row.first_device % row.degree == 0
    assert 0 <= row.first_device <= num_devices - row.degree
    used = -(-sizes.sum() // row.degree) * cost_model.bytes_per_token
    # A memory of a whole number of tokens, in floating point.
    assert cost_model.fixed_bytes + used <= memory * (1 + 1e-12)
  events = simulation.simulate(plan.rows, lengths, num_devices, cost_model)
  # Sums of the same numbers in the same order, or almost.
  np.testing.assert_allclose(events.makespan, plan.makespan, rtol=1e-9)
  np.testing.assert_allclose(events.loads, plan.loads, rtol=1e-9)
  starts = [row.start_time for row in plan.rows]
  np.testing.assert_allclose(events.start_times, starts, rtol=1e-9)
  np.testing.assert_allclose(events.idle, 0, atol=1e-9 * plan.makespan)
  assert plan.makespan >= plan.lower_bound * (1 - 1e-9)
  gap = plan.makespan / plan.lower_bound - 1
  np.testing.assert_allclose(plan.optimal_gap, gap, atol=1e-12)


@hypothesis.given(strategies.data())
@hypothesis.settings(deadline=None, derandomize=True, max_examples=200)
def test_every_plan_is_sound(data):
  num_devices = 2 ** data.draw(strategies.integers(0, 4))
  longest = data.draw(strategies.sampled_from([8, CAPACITY, 300]))
  longest = min(longest, CAPACITY * num_devices)
  lengths = data.draw(
    strategies.lists(strategies.integers(1, longest), min_size=1, max_size=40)
  )
  kind = data.draw(strategies.sampled_from(costs.KINDS))
  chunks = data.draw(strategies.sampled_from([(), (16, 32, 64)]))
  cost_model = make_costs(kind, chunks)
  arguments = lengths, num_devices, cost_model, memory_of(cost_model)
  plan = planner.plan(*arguments)
  check(plan, *arguments)
  packing = baselines.by_tokens(*arguments)
  check(packing, *arguments)
  static = baselines.static(*arguments, degree=num_devices)
  check(static, *arguments)
  assert plan.makespan <= static.makespan * (1 + 1e-9)
  if kind == "recurrent":
    stream = planner.plan(*arguments, method="stream")
    check(stream, *arguments)
    assert {row.degree for row in stream.rows} == {num_devices}


@hypothesis.given(strategies.data())
@hypothesis.settings(deadline=None, derandomize=True, max_examples=25)
def test_order_of_the_documents_does_not_matter(data):
  lengths = data.draw(
    strategies.lists(strategies.integers(1, 200), min_size=1, max_size=30)
  )
  order = np.array(data.draw(strategies.permutations(range(len(lengths)))))
  cost_model = make_costs("attention")
  plan = planner.plan(lengths, 8, cost_model, memory_of(cost_model))
  shuffled = np.array(lengths)[order]
  other = planner.plan(shuffled, 8, cost_model, memory_of(cost_model))
  np.testing.assert_array_equal(plan.loads, other.loads)
  for row, row_other in zip(plan.rows, other.rows):
    assert row[1:] == row_other[1:]
    sizes = [lengths[i] for i in row.doc_ids]
    assert sizes == [shuffled[i] for i in row_other.doc_ids]


def exhaustive(lengths, num_devices, cost_model, capacity):
  """The best plan of single documents on blocks, for additive costs."""
  blocks = [
    (2**j, b)
    for j in range(num_devices.bit_length())
    for b in range(num_devices >> j)
  ]
  loads = np.zeros((1, num_devices))
  for length in lengths:
    steps = []
    for degree, block in blocks:
      if length <= capacity * degree:
        step = np.zeros(num_devices)
        step[block * degree : (block + 1) * degree] = cost_model.time(
          [length], degree
        )
        steps.append(step)
    loads = (loads[:, None] + np.array(steps)).reshape(-1, num_devices)
  return loads.max(axis=1).min()


@pytest.mark.parametrize("seed", range(6))
def test_against_every_plan_of_a_few_documents(seed):
  # Nothing is paid per row, so that it does not matter what shares one.
  cost_model = planner.CostModel(
    "attention", 1.0, 0.02, exchange_bytes=1.5, bandwidths=(4.0, 1.0)
  )
  rng = np.random.default_rng(seed)
  lengths = np.round(np.exp(rng.uniform(np.log(4), np.log(200), 5))).astype(int)
  best = exhaustive(lengths, 4, cost_model, CAPACITY)
  arguments = lengths, 4, cost_model, CAPACITY
  lpt = planner.plan(*arguments)
  assert best * (1 - 1e-9) <= lpt.makespan <= 4 / 3 * best
  milp = planner.plan(*arguments, method="milp")
  check(milp, *arguments)
  # HiGHS' own tolerance is 1e-4 between the bounds.
  np.testing.assert_allclose(milp.makespan, best, rtol=1e-4)


def gap_of(distribution, kind, num_devices, seed):
  documents, limit = {8: (128, 2**16), 64: (512, 2**18)}[num_devices]
  rng = np.random.default_rng(seed)
  lengths = document_lengths.SAMPLERS[distribution](rng, documents, limit)
  cost_model = planner.gpt_7b(kind, num_devices)
  memory = memory_of(cost_model, 8192)
  return planner.plan(lengths, num_devices, cost_model, memory).optimal_gap


@pytest.mark.parametrize(
  "num_devices", [8, pytest.param(64, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("kind", costs.KINDS)
@pytest.mark.parametrize("distribution", document_lengths.SAMPLERS)
def test_close_to_the_lower_bound(distribution, kind, num_devices):
  gaps = [gap_of(distribution, kind, num_devices, i) for i in range(20)]
  assert np.median(gaps) <= 0.05
  assert max(gaps) <= 0.15


def test_plans_quickly():
  # Processor time, the best of three, so that a busy machine matters little.
  rng = np.random.default_rng(0)
  for kind in costs.KINDS:
    cost_model = planner.gpt_7b(kind, 64)
    seconds = []
    for _ in range(3):
      lengths = document_lengths.wiki(rng, 512, 2**18)
      start = time.process_time()
      planner.plan(lengths, 64, cost_model, memory_of(cost_model, 8192))
      seconds.append(time.process_time() - start)
    assert min(seconds) < 0.1


@pytest.mark.parametrize("method", ["lpt", "milp", "stream"])
def test_plans_are_deterministic(method):
  lengths = document_lengths.github_like(np.random.default_rng(3), 12, 300)
  cost_model = make_costs("recurrent")
  one, two = (
    planner.plan(lengths, 4, cost_model, memory_of(cost_model), method=method)
    for _ in range(2)
  )
  assert one.rows == two.rows
  assert one.method == two.method


def test_milp_is_never_worse_and_keeps_to_its_time():
  rng = np.random.default_rng(0)
  lengths = document_lengths.wiki(rng, 128, 2**16)
  cost_model = planner.gpt_7b("attention", 8)
  arguments = lengths, 8, cost_model, memory_of(cost_model, 8192)
  lpt = planner.plan(*arguments)
  milp = planner.plan(*arguments, method="milp", time_limit=1.0)
  check(milp, *arguments)
  assert milp.makespan <= lpt.makespan
  # No time at all: LPT's plan.
  none = planner.plan(*arguments, method="milp", time_limit=0.0)
  assert none.makespan <= lpt.makespan


def test_simple_bound_is_the_weaker_one():
  lengths = document_lengths.github_like(np.random.default_rng(1), 60, 8 * 64)
  for kind in costs.KINDS:
    cost_model = make_costs(kind)
    problem = workload.make_workload(
      lengths, 8, cost_model, memory_of(cost_model)
    )
    assert workload.simple_bound(problem) <= workload.lower_bound(problem)
  # One document: the bound is what it takes on the fastest group.
  problem = workload.make_workload([300], 8, cost_model, memory_of(cost_model))
  fastest = min(cost_model.time([300], degree) for degree in (8,))
  np.testing.assert_allclose(workload.lower_bound(problem), fastest, rtol=1e-9)


def test_padding_is_paid_for():
  plain = make_costs("recurrent")
  padded = make_costs("recurrent", rows.chunk_sizes(CAPACITY))
  # Two devices for 65 tokens: 33 each, padded to 64.
  assert padded.time([65], 2) - plain.time([65], 2) == 64 - 65 / 2
  lengths = [65, 20, 20, 20]
  plan = planner.plan(lengths, 4, padded, memory_of(padded))
  check(plan, lengths, 4, padded, memory_of(padded))


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (
      {"lengths": [5, 600, 7]},
      r"lengths\[1\]: got 600, expected at most 8 \* 64 tokens",
    ),
    ({"lengths": [5, 0]}, r"lengths\[1\]: got 0, expected at least 1"),
    ({"lengths": []}, "at least one"),
    ({"lengths": [2.5]}, "lengths: got dtype float64, expected integers"),
    ({"num_devices": 6}, "num_devices: got 6, expected a power of two"),
    (
      {"memory_per_device": 50.0},
      "memory_per_device: got 50.0, expected room for a token",
    ),
    (
      {"memory_per_device": float("inf")},
      "memory_per_device: got inf, expected a finite number of bytes",
    ),
    ({"method": "best"}, "got 'best'"),
    (
      {"method": "stream"},
      "cost_model.kind: got 'attention', expected 'recurrent'",
    ),
  ],
)
def test_bad_arguments_are_named(change, message):
  cost_model = make_costs("attention")
  arguments = {
    "lengths": [5, 6],
    "num_devices": 8,
    "cost_model": cost_model,
    "memory_per_device": memory_of(cost_model),
  }
  with pytest.raises(ValueError, match=message):
    planner.plan(**(arguments | change))


def test_static_needs_a_group_that_holds_every_document():
  cost_model = make_costs("attention")
  arguments = [100], 8, cost_model, memory_of(cost_model)
  with pytest.raises(
    ValueError, match=r"lengths\[0\]: got 100, expected at most 64"
  ):
    baselines.static(*arguments, degree=1)
  with pytest.raises(ValueError, match="got 3"):
    baselines.static(*arguments, degree=3)
