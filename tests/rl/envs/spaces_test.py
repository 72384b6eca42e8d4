from gymnax.environments import spaces as gymnax_spaces
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.rl.envs import spaces

_BOX = gymnax_spaces.Box(-1.0, 1.0, (2, 1))
_DISCRETE = gymnax_spaces.Discrete(3)
_MULTI = spaces.MultiDiscrete((2, 3))


@pytest.mark.parametrize(
  ("space", "element", "expected"),
  [
    (_DISCRETE, 1, [0, 1, 0]),
    (_DISCRETE, np.int8(2), [0, 0, 1]),
    (_BOX, np.array([[0.5], [-2.0]]), [0.5, -2]),
    (_MULTI, np.array([1, 0]), [0, 1, 1, 0, 0]),
    (_MULTI, (1, 0), [0, 1, 1, 0, 0]),
    (gymnax_spaces.Tuple((_DISCRETE, _BOX)), (0, [[3], [4]]), [1, 0, 0, 3, 4]),
    (
      gymnax_spaces.Dict({"b": _DISCRETE, "a": _MULTI}),
      {"a": np.array([0, 2]), "b": 2},
      [0, 0, 1, 1, 0, 0, 0, 1],
    ),
  ],
)
def test_flatten(space, element, expected):
  element = jax.tree.map(jnp.asarray, element)
  flat = spaces.flatten(space, element)
  assert flat.dtype == jnp.float32
  np.testing.assert_array_equal(flat, expected)
  assert spaces.flat_size(space) == len(expected)


@pytest.mark.parametrize(
  ("space", "expected"),
  [
    (_DISCRETE, [1, 0, 0]),
    (_BOX, [0, 0]),
    (_MULTI, [1, 0, 1, 0, 0]),
    (gymnax_spaces.Tuple((_DISCRETE, _BOX)), [1, 0, 0, 0, 0]),
    (gymnax_spaces.Dict({"b": _DISCRETE, "a": _BOX}), [1, 0, 0, 0, 0]),
  ],
)
def test_zeros(space, expected):
  element = spaces.zeros(space)
  np.testing.assert_array_equal(spaces.flatten(space, element), expected)


def test_an_unknown_space_is_refused():
  for function in (
    spaces.flat_size,
    spaces.zeros,
    lambda space: spaces.flatten(space, 0),
  ):
    for unknown in (gymnax_spaces.Space(), spaces.Space()):
      with pytest.raises(ValueError, match=r"space: got .*, expected Discrete"):
        function(unknown)


def test_multi_discrete_samples_all_of_its_elements_and_no_others():
  keys = jax.random.split(jax.random.key(0), 200)
  sampled = jax.vmap(_MULTI.sample)(keys)
  assert sampled.dtype == jnp.int32
  found = {tuple(pair) for pair in np.asarray(sampled).tolist()}
  assert found == {(i, j) for i in range(2) for j in range(3)}
  assert jax.vmap(_MULTI.contains)(sampled).all()
  for outside in ([2, 0], [0, 3], [-1, 0]):
    assert not _MULTI.contains(jnp.array(outside))
  assert repr(_MULTI) == "MultiDiscrete([2, 3])"


@pytest.mark.parametrize(
  ("space", "element"),
  [
    (_DISCRETE, 1),
    (_DISCRETE, np.int8(1)),
    (_BOX, np.zeros((2, 1), np.float32)),
    (_MULTI, np.zeros(2, np.int32)),
    (_MULTI, (0, 1)),
    (gymnax_spaces.Tuple((_DISCRETE, _BOX)), (0, np.zeros((2, 1)))),
  ],
)
def test_check_accepts_elements(space, element):
  spaces.check("action", space, element)


@pytest.mark.parametrize(
  ("space", "element"),
  [
    (_DISCRETE, np.zeros(5, np.int32)),
    (_DISCRETE, 1.0),
    (_BOX, np.zeros(2)),
    (_MULTI, np.zeros(3, np.int32)),
    (_MULTI, np.zeros(2)),
    (_MULTI, (0, 1, 0)),
    (_MULTI, (0, 1.0)),
  ],
)
def test_check_refuses_what_does_not_fit(space, element):
  with pytest.raises(ValueError, match=r"^action.*: got .*, expected an ele"):
    spaces.check("action", space, element)


@pytest.mark.parametrize(
  "make",
  [
    lambda of: of.Discrete(5),
    lambda of: of.Box(-2.0, 3.0, (2, 3)),
    lambda of: of.Tuple((of.Discrete(4), of.Box(0.0, 1.0, (2,)))),
    lambda of: of.Dict({"b": of.Discrete(4), "a": of.Discrete(7)}),
  ],
)
def test_spaces_are_those_of_gymnax(make):
  own, theirs = make(spaces), make(gymnax_spaces)
  assert spaces.signature(own) == spaces.signature(theirs)
  assert repr(spaces.convert(theirs)) == repr(own)
  for seed in range(3):
    key = jax.random.key(seed)
    drawn, expected = own.sample(key), theirs.sample(key)
    if isinstance(drawn, dict):
      expected = dict(expected)
    jax.tree.map(np.testing.assert_array_equal, drawn, expected)
    assert own.contains(drawn)
    assert not own.contains(jax.tree.map(lambda x: x + 10, drawn))
