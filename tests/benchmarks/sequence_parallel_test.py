"""The table of sequence parallelism: formulas hold, and schemes are schemes."""

import jax
import numpy as np
import pytest

from benchmarks import sequence_parallel as benchmark

pytestmark = pytest.mark.devices

# Two heads of keys on four devices: Ulysses has to repeat them.
_SIZES = benchmark.Sizes(W=4, B=2, h=8, g=2, C=4, d=3)


@pytest.mark.parametrize("name", list(benchmark.SCHEMES))
def test_formulas_are_what_the_program_has(name):
  scheme = benchmark.SCHEMES[name]
  forward, _, arguments = benchmark.programs(scheme, _SIZES)
  row = benchmark.measure(forward, arguments, _SIZES.W)
  assert row.messages == scheme.count(_SIZES)
  assert row.received == scheme.received(_SIZES)


def test_linear_attention_by_hand():
  rng = np.random.default_rng(0)
  outputs = []
  for name in ("LASP-1", "LASP-2"):
    scheme = benchmark.SCHEMES[name]
    forward, _, arguments = benchmark.programs(scheme, _SIZES)
    if not outputs:
      arrays = [rng.normal(size=x.shape).astype(np.float32) for x in arguments]
    outputs.append(jax.jit(forward)(*arrays))
  q, k, v = arrays
  k, v = (np.repeat(x, 4, axis=1) for x in (k, v))
  want = np.tril(q @ k.swapaxes(2, 3)) @ v
  for o in outputs:
    np.testing.assert_allclose(o, want, rtol=1e-4, atol=1e-4)  # float32
