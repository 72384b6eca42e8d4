"""How every registered mixer is configured and answers bad arguments."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import mixers
from tests.mixers import cases


def _cases():
  """Yields all cases; those of other mixers than one are slow tests.

  Nearly all checks are in decorators that mixers share; by name the tests below
  look for them in each mixer.
  """
  for case in cases.every():
    quick = case.values[0] == ("gru", ())
    yield pytest.param(
      *case.values, id=case.id, marks=() if quick else pytest.mark.slow
    )


@pytest.fixture(scope="module", params=list(_cases()))
def mixer(request):
  """As for the other tests, but the parameters are zeros."""
  return cases.bind(request.param, zeros=True)


@pytest.mark.parametrize("case", list(cases.every(marks=pytest.mark.slow)))
def test_config_is_hashable_and_static(case):
  name, options = case
  module = mixers.get(name)
  config = mixers.make_config(name, d_model=cases.D_MODEL, **dict(options))
  assert hash(config) == hash(dataclasses.replace(config))
  assert config == dataclasses.replace(config)
  assert config != dataclasses.replace(config, d_model=cases.D_MODEL * 2)
  assert mixers.module_of(config) is module
  with pytest.raises(dataclasses.FrozenInstanceError):
    config.d_model = 3


@pytest.mark.parametrize("name", mixers.names())
def test_defaults_suffice(x64, name):
  config = mixers.get(name).Config(d_model=64)
  params = jax.eval_shape(
    lambda key: mixers.get(name).init(key, config), jax.random.key(0)
  )
  assert isinstance(params, dict)
  for leaf in jax.tree.leaves(params):
    assert leaf.dtype == jnp.float32


def test_init_is_deterministic(common_mixer):
  mixer = common_mixer
  init = jax.jit(mixer.module.init, static_argnums=1)
  first = init(jax.random.key(1), mixer.config)
  chex.assert_trees_all_equal(first, init(jax.random.key(1), mixer.config))
  other = init(jax.random.key(2), mixer.config)
  changed = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), first, other)
  assert any(jax.tree.leaves(changed))


# Bad arguments.


def _replaced(mixer, **changes):
  arguments = {
    "x": jnp.zeros((2, 5, cases.D_MODEL)),
    "state": cases.fresh(mixer, (2,)),
    "reset": jnp.zeros((2, 5), bool),
  }
  return arguments | changes


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"x": jnp.zeros((2, 5, cases.D_MODEL + 1))}, r"x: got shape \(2, 5, 7\)"),
    ({"x": jnp.zeros(cases.D_MODEL)}, r"x: got shape \(6,\)"),
    (
      {"x": jnp.zeros((0, 5, cases.D_MODEL))},
      r"x: got shape \(0, 5, 6\), expected at least one",
    ),
    ({"x": jnp.zeros((2, 5, cases.D_MODEL), int)}, "x: got dtype int32"),
    ({"reset": jnp.zeros((5, 2), bool)}, r"reset: got shape \(5, 2\)"),
    ({"reset": jnp.zeros((2, 5))}, "reset: got dtype float32"),
    ({"reset": [[True] * 5] * 2}, "reset: got dtype list"),
    ({"state": {"nonsense": jnp.zeros(2)}}, "state: .*nonsense"),
  ],
)
def test_apply_names_the_bad_argument(mixer, changes, message):
  with pytest.raises(ValueError, match=message):
    mixer.module.apply(
      mixer.config, mixer.params, **_replaced(mixer, **changes)
    )


def test_initial_state_names_the_bad_argument(mixer):
  initial_state = mixer.module.initial_state
  with pytest.raises(ValueError, match="batch_shape: got 2, expected a tuple"):
    initial_state(mixer.config, 2)
  for dtype in (jnp.int32, jnp.complex64):
    with pytest.raises(
      ValueError, match="dtype: got .*, expected a real floating one"
    ):
      initial_state(mixer.config, (2,), dtype)


def test_state_of_another_batch(mixer):
  state = cases.fresh(mixer, (3,))
  with pytest.raises(ValueError, match="state: got"):
    mixer.module.apply(
      mixer.config, mixer.params, **_replaced(mixer, state=state)
    )
  with pytest.raises(ValueError, match="state: got"):
    mixer.module.step(
      mixer.config, mixer.params, jnp.zeros((2, cases.D_MODEL)), state
    )


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"x": jnp.zeros((2, cases.D_MODEL + 1))}, r"x: got shape \(2, 7\)"),
    ({"reset": jnp.zeros((3,), bool)}, r"reset: got shape \(3,\)"),
    ({"state": {"nonsense": jnp.zeros(2)}}, "state: .*nonsense"),
  ],
)
def test_step_names_the_bad_argument(mixer, changes, message):
  arguments = _replaced(
    mixer, x=jnp.zeros((2, cases.D_MODEL)), reset=jnp.zeros((2,), bool)
  )
  with pytest.raises(ValueError, match=message):
    mixer.module.step(mixer.config, mixer.params, **(arguments | changes))


def test_step_of_a_sequence_says_that_it_is_one(mixer):
  """Not that the state is wrong, which is that of the sequence's batch."""
  state = cases.fresh(mixer, (2,))
  x = jnp.zeros((2, 5, cases.D_MODEL))
  message = r"x: got shape \(2, 5, 6\), expected \(2, 6\), .* are for apply"
  with pytest.raises(ValueError, match=message):
    mixer.module.step(mixer.config, mixer.params, x, state)


@pytest.mark.parametrize("name", mixers.names())
def test_parameters_of_another_configuration(name):
  module = mixers.get(name)
  config = module.Config(d_model=4)
  other = module.Config(d_model=8)

  def zeros(config):
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), config))
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)

  params = zeros(config)
  state = mixers.fresh_state(other, (2,), params=zeros(other))
  x = jnp.zeros((2, 5, 8))
  message = r"params\['\w+'\]: got shape .*, expected .*d_model=8"
  with pytest.raises(ValueError, match=message):
    module.apply(other, params, x)
  with pytest.raises(ValueError, match=message):
    module.step(other, params, x[:, 0], state)
  with pytest.raises(ValueError, match=r"x: got shape \(2, 5, 8\), expected"):
    module.step(other, zeros(other), x, state)
  with pytest.raises(ValueError, match="batch_shape: got 2, expected a tuple"):
    module.initial_state(config, 2)
  with pytest.raises(
    ValueError, match="params: got 'list', expected a dict of"
  ):
    module.apply(config, [], x[..., :4])
  with pytest.raises(
    ValueError, match=rf"got 'builtins.dict', expected a .*{name}.Config"
  ):
    module.apply(params, config, x[..., :4])
