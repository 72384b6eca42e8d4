"""Trees, and scans over them, against numbers of the published code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.recurrence.trees import tree

# Sums of a handful of float64 numbers.
FLOAT64 = {"rtol": 1e-12, "atol": 1e-12}


def test_the_published_template(golden):
  expected = golden("recycling/template_222")
  made = tree.from_ranks(expected["template"])
  np.testing.assert_array_equal(made.parents, expected["parent"])
  np.testing.assert_array_equal(made.ranks, expected["candidate"])
  np.testing.assert_array_equal(made.depths, expected["depth"])
  np.testing.assert_array_equal(made.ancestors, expected["ancestor_mask"])
  np.testing.assert_array_equal(made.paths, expected["paths"])
  starts = np.cumsum([len(level) for level in made.levels])
  np.testing.assert_array_equal(starts, expected["level_start"])
  assert made == tree.from_ranks(expected["template"])
  assert hash(made) == hash(tree.Tree(made.parents, made.ranks))


@pytest.mark.parametrize("name", ["tree_states", "tree_states_chain"])
def test_states_of_nodes(golden, name):
  g = golden(f"recycling/{name}")
  made = tree.Tree(tuple(g["parent"]))
  np.testing.assert_array_equal(made.ancestors, g["ancestor"])
  with jax.enable_x64():
    arrays = {key: jnp.asarray(value) for key, value in g.items()}
    g = arrays
    h = recurrence.tree_linear_scan(g["a"], g["b"], g["h0"], made)
    np.testing.assert_allclose(h, g["h"], **FLOAT64)
    decay = g["log_decay"][:, None]
    o = recurrence.tree_outer_scan(g["q"], g["k"], g["v"], decay, g["S0"], made)
    np.testing.assert_allclose(o, g["o"], **FLOAT64)
    size = made.size
    elements = g["k"], g["v"], decay, g["S0"]
    many = [jnp.broadcast_to(x, (size, *x.shape)) for x in elements]
    S = recurrence.outer_after(*many, made, jnp.arange(size))
    np.testing.assert_allclose(S, g["S"], **FLOAT64)
    y, windows = recurrence.tree_causal_conv(
      g["conv_input"], g["conv_weight"], None, g["conv_past"], made
    )
    np.testing.assert_allclose(y, g["conv_output"], **FLOAT64)
    np.testing.assert_array_equal(windows, g["conv_state"])


@pytest.mark.slow
def test_a_chain_is_a_sequence():
  keys = jax.random.split(jax.random.key(0), 5)
  made = tree.chain(6)
  q, k, v = (jax.random.normal(key, (2, 6, 3)) for key in keys[:3])
  decay = -jax.random.uniform(keys[3], (2, 6, 1))
  init = jax.random.normal(keys[4], (2, 3, 3))
  o, final = recurrence.outer_scan(q, k, v, decay, init)
  near = {"rtol": 1e-5, "atol": 1e-6}  # Float32 sums of six terms.
  np.testing.assert_allclose(
    recurrence.tree_outer_scan(q, k, v, decay, init, made), o, **near
  )
  np.testing.assert_allclose(
    recurrence.outer_after(k, v, decay, init, made, jnp.array([5, 5])),
    final,
    **near,
  )
  plain, final = recurrence.outer_scan(q, k, v, None, None)
  np.testing.assert_allclose(
    recurrence.tree_outer_scan(q, k, v, None, None, made), plain, **near
  )
  np.testing.assert_allclose(
    recurrence.outer_after(k, v, None, None, made, jnp.array([5, 5])),
    final,
    **near,
  )
  y, window = recurrence.causal_conv(q, k[0, :4], v[0, 0], init[:, :3])
  got, windows = recurrence.tree_causal_conv(
    q, k[0, :4], v[0, 0], init[:, :3], made
  )
  np.testing.assert_allclose(got, y, **near)
  np.testing.assert_array_equal(windows[:, -1], window)


@pytest.mark.parametrize("decayed", [True, False, "forgotten"])
def test_corrected_states(decayed):
  keys = jax.random.split(jax.random.key(0), 6)
  made = tree.Tree((-1, 0, 0, 2, 1, 2, 4))
  q, k, v, read = (jax.random.normal(key, (2, 7, 3)) for key in keys[:4])
  decay = -jax.random.uniform(keys[4], (2, 7, 1)) if decayed else None
  if decayed == "forgotten":
    # In front of the tree, in its middle and at a leaf.
    decay = decay.at[0, jnp.array([0, 2])].set(-jnp.inf)
    decay = decay.at[1, jnp.array([1, 4, 6])].set(-jnp.inf)
  init = jax.random.normal(keys[5], (2, 3, 3))
  o, u = recurrence.tree_delta_scan(q, k, v, read, decay, init, made)

  def step(S, elements):
    o, S = recurrence.delta_step(*elements, S)
    return S, o

  expected, states = tree.tree_fold(step, init, (q, k, v, read, decay), made)
  # Float32, states of up to 30 times the size of what they are made of.
  near = {"rtol": 1e-4, "atol": 1e-4}
  np.testing.assert_allclose(o, expected, **near)
  S = recurrence.outer_after(k, u, decay, init, made, jnp.array([6, 3]))
  np.testing.assert_allclose(S, [states[0, 6], states[1, 3]], **near)


@pytest.mark.slow
@pytest.mark.parametrize("seen", [1, 9])
def test_windows_of_keys(seen):
  keys = jax.random.split(jax.random.key(0), 3)
  made = tree.Tree((-1, 0, 0, 2, 1, 2, 4, 6))
  q, k, v = (
    jax.random.normal(key, (2, 1, 17, n, 4)) for key, n in zip(keys, (4, 2, 2))
  )
  reset = np.zeros((2, 1, 9), bool)
  reset[:, 0, 9 - seen] = True

  def embed(x, index):
    return x * jnp.cos(0.3 * index)[:, None, None] + jnp.roll(
      x, 2, -1
    ) * jnp.sin(0.3 * index)[:, None, None] * jnp.array([-1, -1, 1, 1])

  _, state = recurrence.window_attention(
    *(x[..., :9, :, :] for x in (q, k, v)), 3, reset=reset, embed=embed
  )
  elements = tuple(x[..., 9:, :, :] for x in (q, k, v))

  def step(state, elements):
    # A level's nodes are rows of one element.
    elements = (x[..., None, :, :] for x in elements)
    o, state = recurrence.window_attention(*elements, 3, state, embed=embed)
    return state, o[..., 0, :, :]

  expected, states = tree.tree_fold(step, state, elements, made, 2)
  o = recurrence.tree_window_attention(*elements, 3, state, made, embed=embed)
  near = {"rtol": 1e-5, "atol": 1e-6}  # Float32 averages of four values.
  np.testing.assert_allclose(o, expected, **near)
  node = jnp.array([[7], [2]])
  got = recurrence.window_after(*elements[1:], state, made, node)
  jax.tree.map(
    np.testing.assert_array_equal, got, tree.after_node(states, node, 2)
  )


def test_far_decays_do_not_overflow():
  made = tree.Tree((-1, 0, 0, 1, 2))
  ones = jnp.ones((5, 2))
  decay = jnp.full((5, 1), -80.0)
  o = recurrence.tree_outer_scan(ones, ones, ones, decay, None, made)
  np.testing.assert_allclose(o, 2 * ones)


def test_fold_and_paths_follow_parents():
  # Numbered so that levels are not in one piece.
  made = tree.Tree((-1, 0, 1, 0, 3, 2))
  x = jnp.arange(6.0)[None, :, None] + jnp.array([[[0.0]], [[10.0]]])

  def step(carry, x):
    carry = 2 * carry + x
    return carry, carry

  init = jnp.ones((2, 1))
  y, states = tree.tree_fold(step, init, x, made)
  np.testing.assert_array_equal(y, states)
  np.testing.assert_array_equal(
    y, recurrence.tree_linear_scan(jnp.full((1,), 2.0), x, init, made)
  )
  expected = {}
  for node, parent in enumerate(made.parents):
    before = init if parent < 0 else expected[parent]
    expected[node] = 2 * before + x[:, node]
    np.testing.assert_array_equal(y[:, node], expected[node])
  np.testing.assert_array_equal(
    tree.after_node(states, jnp.array([5, 4])), [y[0, 5], y[1, 4]]
  )
  rows = tree.to_paths(x, made)
  np.testing.assert_array_equal(rows[0, :, :, 0], [[0, 3, 4, 0], [0, 1, 2, 5]])
  over, _ = recurrence.fold(step, tree.for_paths(init, made), rows)
  np.testing.assert_array_equal(tree.from_paths(over, made), y)
  np.testing.assert_array_equal(
    made.before(2), [[-2, -1], [-1, 0], [0, 1], [-1, 0], [0, 3], [1, 2]]
  )


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda: tree.Tree((-1, 1)), "parents: got 1, expected a number from -1"),
    (lambda: tree.Tree(()), "parents: got"),
    (lambda: tree.Tree((-1, 0), (0,)), "ranks: got"),
    (lambda: tree.from_ranks([(0,), (1, 0)]), "ranks: got (1, 0), expected"),
    (lambda: tree.from_ranks([(0,), (0,)]), "ranks: got (0,), expected"),
    (lambda: tree.chain(0), "size: got 0"),
    (
      lambda: tree.to_paths(jnp.zeros((2, 3)), tree.chain(4)),
      "xs: got shape (2, 3), expected 4 nodes along axis 1",
    ),
    (
      lambda: recurrence.tree_linear_scan(
        jnp.ones(2), jnp.ones((3, 2)), jnp.ones(3), tree.chain(3)
      ),
      "init: got shape (3,)",
    ),
  ],
)
def test_refusals(make, message):
  with pytest.raises(ValueError) as caught:
    make()
  assert message in str(caught.value)
