"""Training on planned documents: no number depends on devices or plans."""

import copy
import re

import jax
import numpy as np
import pytest

from experiments.documents import document_plans
from experiments.documents import documents
from jaxseq import nn
from jaxseq.planner import planned
from jaxseq.tasks import base
from jaxseq.tasks import language
from jaxseq.training import recipes

LONGEST = 64
COSTS = {"row_overhead": 8.0, "state_bytes": 2.0, "bandwidths": (1.0,)}
OPTIONS = {"s5": (("ssm_size", 8), ("blocks", 2)), "attention": (("heads", 2),)}


def make_corpus(seed=0, count=60):
  """Documents of 1 to 100 tokens, most of them short."""
  rng = np.random.default_rng(seed)
  lengths = np.minimum(rng.lognormal(2.5, 1.2, count).astype(int) + 1, 100)
  tokens = rng.integers(1, 9, lengths.sum()).astype(np.uint8)
  starts = np.zeros(len(tokens), bool)
  starts[np.cumsum(lengths) - lengths] = True
  text = language.Text(tokens, starts)
  return language.Corpus(text, text, text, 9)


def make(devices, mixer="linear_attention", **plan):
  network = nn.NetworkConfig(
    nn.StackConfig(mixer, OPTIONS.get(mixer, ()), d_model=8, num_layers=1)
  )
  arm = base.ArmConfig(network, recipes.Recipe(learning_rate=1e-2), 9)
  if mixer != "attention":
    plan["costs"] = COSTS
  problem = documents.Problem(
    arm,
    make_corpus(),
    document_plans.PlanConfig(**plan),
    max_length=LONGEST,
    seed=3,
    valid_tokens=200,
    devices=jax.devices()[:devices],
  )
  return problem, base.make_optimizer(arm, 20)


def train(devices, count=20, **options):
  problem, optimizer = make(devices, **options)
  traces = []

  def token_loss(*arguments):
    traces.append(1)
    return problem.token_loss(*arguments)

  counted = copy.copy(problem)
  counted.token_loss = token_loss
  state = planned.init(problem, optimizer, 0)
  state, metrics = planned.make_chunk(counted, optimizer)(state, count)
  # At most one compilation for every kind of arrays.
  assert len(traces) == metrics["programs"][-1] == state.programs.sum()
  evaluate = planned.make_evaluate(problem)
  metrics["valid"] = evaluate(state.variables, problem.valid())
  return metrics


SLOW = [
  (mixer, plan)
  for mixer in ("linear_attention", "attention", "mamba2", "s5")
  for plan in (
    {"tokens_per_device": 16},
    {"tokens_per_device": 8, "uniform": False},
    {"method": "packing"},
    {"method": "static", "tokens_per_device": 16},
    {"method": "stream"},
  )
  if (mixer, plan.get("method")) != ("attention", "stream")
]


@pytest.mark.slow
@pytest.mark.devices
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
  ("mixer", "plan"),
  [
    ("linear_attention", {"levels": 1}),
    *(pytest.param(*each, marks=pytest.mark.slow) for each in SLOW),
  ],
)
def test_training_is_the_same_on_any_devices_by_any_plan(mixer, plan):
  one, eight = train(1, mixer=mixer), train(8, mixer=mixer, **plan)
  # float32: sums in another order, through 20 steps of Adam.
  for name, rtol in (
    ("train_bits_per_token", 1e-6),
    ("valid", 1e-6),
    ("grad_norm", 1e-4),
  ):
    np.testing.assert_allclose(eight[name], one[name], rtol=rtol, err_msg=name)
  np.testing.assert_array_equal(eight["tokens"], one["tokens"])
  losses = one["train_bits_per_token"]
  assert losses[-5:].mean() < losses[:5].mean()
  assert (eight["plan_gap"] >= 0).all()
  assert ((eight["padding"] >= 0) & (eight["padding"] < 1)).all()


@pytest.mark.devices
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mixer", ["linear_attention", "attention"])
def test_one_program_for_each_key_over_fifty_batches(mixer):
  metrics = train(8, count=50, mixer=mixer, tokens_per_device=16)
  # Degrees 1, 2 and 4, three sizes of chunks: `train` counts the traces.
  assert 2 < metrics["programs"][-1] <= 9
  assert np.isfinite(metrics["train_bits_per_token"]).all()


class Counted:
  """Tokens that tell how many of them were read."""

  def __init__(self, tokens):
    self.tokens, self.read = tokens, 0

  def __getitem__(self, index):
    taken = self.tokens[index]
    self.read += len(taken)
    return taken


def test_a_process_reads_the_documents_of_its_own_devices():
  text = make_corpus().train
  whole = documents.from_text(text, LONGEST)
  config = document_plans.PlanConfig(tokens_per_device=16, costs=COSTS)
  network = nn.NetworkConfig(nn.StackConfig("linear_attention"))
  # Of eight devices that are not there.
  plans = document_plans.make_planner(
    config, network, LONGEST, jax.devices()[:1] * 8
  )
  chosen = documents.draw(0, 0, len(whole.lengths), 40)
  full = plans.lay_out(whole, chosen)
  read = []
  for local in ((0, 1, 2, 3), (4, 5, 6, 7)):
    tokens = Counted(text.tokens)
    step = plans._replace(local=local).lay_out(
      whole._replace(tokens=tokens), chosen
    )
    read.append(tokens.read)
    assert step.batch.keys == full.batch.keys
    for key, wave, expected in zip(
      step.batch.keys, step.batch.waves, full.batch.waves
    ):
      chunk = key.row_length // key.sp_degree
      here = slice(local[0] * chunk, (local[-1] + 1) * chunk)
      for array, want in zip(wave, expected):
        np.testing.assert_array_equal(
          array.reshape(-1)[here], want.reshape(-1)[here]
        )
  lengths = whole.lengths[chosen] - 1
  # No group is larger than four devices: each document is read once.
  assert sum(read) == lengths.sum()
  assert max(read) < 0.6 * lengths.sum()


def test_documents_of_a_text():
  text = language.Text(
    np.arange(1, 13, dtype=np.uint8),
    np.isin(np.arange(12), (0, 1, 9)),
  )
  found = documents.from_text(text, 5)
  np.testing.assert_array_equal(found.offsets, [0, 1, 5, 9, 12])
  np.testing.assert_array_equal(found.lengths, [2, 5, 5, 4])
  np.testing.assert_array_equal(found.read(1), [0, 2, 3, 4, 5])
  np.testing.assert_array_equal(documents.first(found, 8).offsets, [0, 1, 5])
  np.testing.assert_array_equal(documents.first(found, 0).offsets, [0, 1])
  with pytest.raises(
    ValueError, match="max_length: got 1, expected an integer of at least 2"
  ):
    documents.from_text(text, 1)


def test_every_document_comes_once_an_epoch():
  drawn = np.concatenate([documents.draw(1, i, 10, 4) for i in range(5)])
  np.testing.assert_array_equal(np.sort(drawn[:10]), np.arange(10))
  np.testing.assert_array_equal(np.sort(drawn[10:]), np.arange(10))
  assert (drawn[:10] != drawn[10:]).any()


@pytest.mark.parametrize(
  ("fields", "plan", "count", "message"),
  [
    ({}, {}, 3, "devices: got 3, expected a power of two"),
    ({"dropout": 0.1}, {}, 1, "network.stack.dropout: got 0.1, expected 0.0"),
    ({"norm": "batch"}, {}, 1, "network.stack.norm: got 'batch'"),
    ({"bidirectional": True}, {}, 1, "bidirectional: got True"),
    ({"pooling": "mean"}, {}, 1, "network.pooling: got 'mean'"),
    ({}, {"tokens_per_device": 15}, 4, "got 15, expected 16 or more"),
    (
      {"mixer": "attention"},
      {"method": "stream"},
      1,
      "plan.method: got 'stream'",
    ),
  ],
)
def test_what_cannot_be_planned(fields, plan, count, message):
  pooling = fields.get("pooling", "none")
  stack = {"mixer": "gru", **fields}
  stack.pop("pooling", None)
  network = nn.NetworkConfig(nn.StackConfig(**stack), pooling=pooling)
  with pytest.raises(ValueError, match=re.escape(message)):
    document_plans.make_planner(
      document_plans.PlanConfig(**plan), network, 64, jax.devices()[:1] * count
    )


def test_wrong_options():
  with pytest.raises(
    ValueError, match="levels: got 9, expected an integer from 1 to 8"
  ):
    document_plans.PlanConfig(levels=9)
  with pytest.raises(ValueError, match="costs: got 'kind', expected one of"):
    document_plans.PlanConfig(costs={"kind": "recurrent"})
  with pytest.raises(
    ValueError,
    match="tokens_per_device: got -1, expected an integer of at least 0",
  ):
    document_plans.PlanConfig(tokens_per_device=-1)
