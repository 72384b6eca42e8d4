"""What mixers send each other when time is split over devices; traced only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import collectives
from jaxseq import mixers
from tests.mixers import cases
from tests.mixers import checks

pytestmark = pytest.mark.devices

P = jax.sharding.PartitionSpec
_SPLIT = P(None, "sp")
_DEVICES, _ROWS = 8, 3


def _bind(name, options):
  return cases.bind((name, options or cases.short(name)), zeros=True)


def _split(mixer, name):
  """`apply` with time split over eight devices, from a fresh state."""

  # A gated network hands on all inputs unless devices take turns.
  relay = "relay" in mixers.traits(name).schemes
  options = {"scheme": "relay"} if relay else {}

  def apply(params, x, reset):
    return mixer.module.apply(
      mixer.config, params, x, None, reset, axis="sp", **options
    )

  mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:_DEVICES]), ("sp",))
  return jax.shard_map(
    apply, mesh=mesh, in_specs=(P(), _SPLIT, _SPLIT), out_specs=(_SPLIT, P())
  )


def _arguments(mixer, time):
  x = jax.ShapeDtypeStruct((_ROWS, time, cases.D_MODEL), jnp.float32)
  return mixer.params, x, jax.ShapeDtypeStruct((_ROWS, time), jnp.bool_)


def _gradient(forward):
  def run(params, x, reset):
    def loss(params, x):
      return jnp.sum(forward(params, x, reset)[0] ** 2)

    return jax.grad(loss, (0, 1))(params, x)

  return run


def _exchanged(function, mixer, size):
  """Kind, shape, dtype and number of what travels, chunks being that long."""
  return collectives.of(function, *_arguments(mixer, _DEVICES * size))


def _cases(marks=()):
  """Cases of the mixers whose time can be split."""
  every = cases.cases(marks=marks)
  return [case for case in every if case.values[0][0] in checks.names()]


@pytest.mark.parametrize("case", _cases(marks=pytest.mark.slow))
def test_what_is_sent_does_not_grow_with_time(case):
  name, options = case
  mixer = _bind(name, options)
  forward = _split(mixer, name)
  short = _exchanged(forward, mixer, 4)
  assert _exchanged(forward, mixer, 16) == short
  counts, declared = collectives.count(short), checks.of(name).collectives
  if declared is not None:
    # A summary, the elements before a chunk, or a state in each turn. What is
    # the same on all devices, the last state, follows from gathered summaries;
    # a window or the state of a gated network is handed out in a sum.
    # An option may add the latter.
    more = {"psum"} if options else set()
    assert set(declared) <= set(counts) <= set(declared) | more, checks.of(
      name
    ).path
    for kind, number in declared.items():
      if number != "any" and not (options and kind == "all_gather"):
        assert counts[kind] == number, checks.of(name).path


@pytest.mark.slow
@pytest.mark.parametrize("case", _cases())
def test_nor_does_what_its_gradient_sends(case):
  name, options = case
  mixer = _bind(name, options)
  gradient = _gradient(_split(mixer, name))
  short = _exchanged(gradient, mixer, 4)
  forward = _exchanged(_split(mixer, name), mixer, 4)
  assert len(short) > len(set(collectives.count(forward)) - {"psum"})
  assert _exchanged(gradient, mixer, 16) == short


@pytest.mark.parametrize("name", checks.names())
def test_time_that_does_not_come_out_even(name):
  mixer = _bind(name, ())
  with pytest.raises(
    ValueError, match=r"mesh axis 'sp' .*, but 8 does not evenly divide 30"
  ):
    jax.eval_shape(_split(mixer, name), *_arguments(mixer, 30))


def test_padding_makes_it_even():
  mixer = cases.bind(("s5", ()))
  x = cases.sequence(_ROWS, 30, dtype=jnp.float32)
  reset = jnp.asarray(np.random.default_rng(0).random(x.shape[:2]) < 0.2)
  padded = (
    jnp.pad(x, ((0, 0), (0, 2), (0, 0))),
    jnp.pad(reset, ((0, 0), (0, 2))),
  )
  y, _ = jax.jit(_split(mixer, "s5"))(mixer.params, *padded)
  want, _ = mixer.apply(mixer.params, x, None, reset)
  np.testing.assert_allclose(y[:, :30], want, **cases.FLOAT32)
