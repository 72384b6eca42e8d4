"""Configurations of stacks: their forms, their layers, what they cost."""

import dataclasses
import time

import jax
import jax.numpy as jnp
import pytest

from jaxseq import nn

_ATTENTION = {"heads": 2, "window": 4}


def test_constructors_give_what_the_fields_give():
  fields = {"d_model": 8, "num_layers": 4, "norm": "rms"}
  pair = ("attention", _ATTENTION)
  turns = nn.StackConfig.alternating("gru", pair, **fields)
  assert turns == nn.StackConfig("gru", hybrid=(pair,), **fields)
  assert turns.mixer_names == ("gru", "attention")


def test_a_stack_of_given_layers():
  low = nn.LayerConfig("gru", d_model=8, feedforward="relu", norm="rms")
  high = nn.LayerConfig("attention", _ATTENTION, d_model=8, dropout=0.5)
  stack = nn.StackConfig.of_layers(low, high, low, remat=True)
  assert stack.every_layer == (low, high, low)
  assert (stack.d_model, stack.num_layers, stack.remat) == (8, 3, True)
  differences = (
    {"feedforward": "relu"},
    {"mixer": "attention", "mixer_options": _ATTENTION, "dropout": 0.5},
  )
  other = nn.StackConfig("gru", d_model=8, layers=differences)
  high = dataclasses.replace(high, norm="layer")
  low = dataclasses.replace(low, norm="layer")
  assert other.every_layer == (low, high)
  with pytest.raises(ValueError, match=r"layers\[1\].d_model: got 4, expected"):
    nn.StackConfig.of_layers(low, dataclasses.replace(high, d_model=4))


def test_a_layer_alone_runs_and_layers_that_differ_are_none():
  x = jnp.ones((1, 3, 4))
  layer = nn.SequenceLayer(nn.LayerConfig("gru", d_model=4))
  y, _ = jax.jit(layer.apply)(jax.jit(layer.init)(jax.random.key(0), x), x)
  assert y.shape == x.shape
  stack = nn.StackConfig("gru", hybrid={"lstm": {}}, d_model=4)
  with pytest.raises(ValueError, match="config: got .one of layers that diff"):
    nn.SequenceLayer(stack).init(jax.random.key(0), x)


def test_many_layers_are_checked_in_milliseconds():
  """Each kind of layer is checked once, and tracing checks none again."""
  attention = {"mixer": "attention", "mixer_options": _ATTENTION}
  layers = tuple(attention if i % 4 == 3 else {} for i in range(48))

  def construct():
    return nn.StackConfig(
      "gated_deltanet", {"heads": 2}, d_model=8, num_layers=48, layers=layers
    )

  stack = construct()
  assert len({id(layer) for layer in stack.every_layer}) == 2
  seconds = []
  for _ in range(5):
    start = time.process_time()
    construct()
    seconds.append(time.process_time() - start)
  # About a millisecond where nothing else runs.
  assert min(seconds) < 0.02


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"norm": "batch"}, "stack.norm: got 'batch', .*: it ties rows"),
    ({"dropout": 0.5}, "stack.dropout: got 0.5, expected 0.0: none is on"),
  ],
)
def test_single_layers_are_refused_as_all_of_them(fields, message):
  why = {"batch_norm": "it ties rows", "dropout": "none is on"}
  for config in (
    nn.LayerConfig("gru", **fields),
    nn.StackConfig("gru", num_layers=0, **fields),
    nn.StackConfig("gru", layers=({}, fields), num_layers=2),
  ):
    with pytest.raises(ValueError, match=message):
      config.refuse(**why)
    config.refuse()
  nn.StackConfig("gru").refuse(**why)


def test_what_reads_from_the_end_is_refused_beside_others():
  s5 = ("s5", {"bidirectional": True, "ssm_size": 8, "blocks": 1})
  config = nn.StackConfig("gru", parallel=(s5,), num_layers=1)
  with pytest.raises(ValueError, match="bidirectional: got True, .*: no end"):
    config.refuse(bidirectional="no end")


def test_tracing_states_checks_no_layer_again(monkeypatch):
  stack = nn.StackConfig("rwkv7", {"head_size": 2}, d_model=4, num_layers=3)
  model = nn.SequenceModel(stack)

  def refuse(self):
    raise AssertionError("checked again")

  monkeypatch.setattr(nn.LayerConfig, "__post_init__", refuse)
  states = jax.eval_shape(model.initial_state)
  assert len(states) == 3
