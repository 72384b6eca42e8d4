"""The cost model against its formulas, written out."""

import math

import numpy as np
import pytest

from jaxseq import planner


def test_attention_by_hand():
  model = planner.gpt_7b("attention", 64)
  lengths, degree = [3000, 5000, 40000], 16
  computing = sum(5.128e-6 * s**2 + 0.18396 * s for s in lengths) / 16 * 1e-3
  moved = 4 * 2 * 32 * 4096 * 2 * sum(lengths) / 16
  exchange = moved / 10.33e9 + 8 * 32 * 20e-6
  expected = computing + exchange + 5e-3
  np.testing.assert_allclose(model.time(lengths, degree), expected, rtol=1e-12)
  np.testing.assert_allclose(model.comm(16, 48000), exchange, rtol=1e-12)
  # The quadratic term is as large as the linear one at 35.9K tokens.
  equal = model.token_seconds / model.square_seconds
  assert round(equal / 1000, 1) == 35.9


def test_recurrent_by_hand():
  model = planner.gpt_7b("recurrent", 64)
  exchange = 2 * 32 * (20e-6 * 3 + 7 * 1e6 / 96.5e9)
  np.testing.assert_allclose(model.comm(8, 10), exchange, rtol=1e-12)
  # Neither the tokens nor the documents of a row matter to the exchange.
  assert model.comm(8, 10) == model.comm(8, 10**6)
  one, many = model.time([900], 8), model.time([400, 300, 200], 8)
  np.testing.assert_allclose(one, many, rtol=1e-12)


@pytest.mark.parametrize("kind", ["attention", "recurrent"])
def test_one_device_exchanges_nothing(kind):
  model = planner.gpt_7b(kind, 8)
  assert model.comm(1, 8192) == 0


def test_bandwidth_by_degree():
  model = planner.gpt_7b()
  degrees = [2**j for j in range(1, 11)]
  speeds = [119.5, 104.1, 96.5, 10.33, 5.94, 4.87, 4.4, 4.2, 4.0, 4.0]
  assert [model.bandwidth(d) / 1e9 for d in degrees] == pytest.approx(speeds)


def test_fixed_bytes_are_shared():
  parameters = 12 * 32 * 4096**2 + 50257 * 4096
  assert planner.gpt_7b(num_devices=64).fixed_bytes == parameters / 4
  assert math.isclose(parameters, 6.65e9, rel_tol=1e-3)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"kind": "other"}, "got 'other'"),
    ({"token_seconds": 0.0}, "token_seconds: got 0.0, expected .* above 0"),
    ({"square_seconds": 1.0}, "0 for recurrent"),
    ({"bandwidths": ()}, "at least one"),
  ],
)
def test_bad_options_are_named(options, message):
  with pytest.raises(ValueError, match=message):
    planner.CostModel(**({"kind": "recurrent", "token_seconds": 1.0} | options))
