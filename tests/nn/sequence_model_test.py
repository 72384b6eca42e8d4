import functools

import chex
from flax import linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseq import nn

_D_MODEL = 4
_OPTIONS = {"lstm": {"heads": 2}, "s5": {"ssm_size": 8, "blocks": 1}}


def _config(mixer="gru", **options):
  """A stack without what would follow its last layer."""
  options = {"norm": "none", "activation": "full_glu"} | options
  return nn.StackConfig(
    mixer,
    _OPTIONS.get(mixer, {}),
    d_model=_D_MODEL,
    **({"final_norm": False} | options),
  )


# Two float32 programs for the same numbers, a few layers deep.
_CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def _x(*shape):
  return jax.random.normal(jax.random.key(5), (*shape, _D_MODEL))


@functools.cache
def _model(mixer="gru", **options):
  options = {"norm": "layer", "num_layers": 2} | options
  model = nn.SequenceModel(_config(mixer, **options))
  variables = jax.jit(model.init)(jax.random.key(0), _x(2, 5))
  return model, variables


def _stacked(variables, num_layers=2):
  """Parameters of separate layers as those of a scanned one."""
  params = variables["params"]
  layers = [params[f"layers_{i}"] for i in range(num_layers)]
  return {"params": {"layers": jax.tree.map(lambda *a: jnp.stack(a), *layers)}}


@pytest.mark.parametrize(
  ("mixer", "scan_layers"),
  [
    ("s5", True),
    pytest.param("gru", False, marks=pytest.mark.slow),
    pytest.param("lstm", True, marks=pytest.mark.slow),
    pytest.param("s5", False, marks=pytest.mark.slow),
  ],
)
def test_one_definition_three_ways(mixer, scan_layers):
  """Whole sequence, pieces with carried states, single steps; with resets."""
  model, variables = _model(mixer, scan_layers=scan_layers)
  apply = jax.jit(model.apply)
  x = _x(2, 3, 6)
  reset = jax.random.bernoulli(jax.random.key(1), 0.3, x.shape[:-1])
  states = model.initial_state((2, 3))
  y, final = apply(variables, x, states, reset)

  first, states = apply(variables, x[..., :3, :], states, reset[..., :3])
  second, states = apply(variables, x[..., 3:, :], states, reset[..., 3:])
  pieces = jnp.concatenate([first, second], -2)
  chex.assert_trees_all_close((pieces, states), (y, final), **_CLOSE)

  step = jax.jit(functools.partial(model.apply, method="step"))
  states = model.initial_state((2, 3))
  chex.assert_trees_all_equal_shapes_and_dtypes(states, final)
  for t in range(6):
    y_t, states = step(variables, x[..., t, :], states, reset[..., t])
    np.testing.assert_allclose(y_t, y[..., t, :], **_CLOSE)
  chex.assert_trees_all_close(states, final, **_CLOSE)


def test_resets_equal_episodes_alone():
  model, variables = _model("s5")
  apply = jax.jit(model.apply)
  x = _x(1, 6)
  reset = jnp.asarray([[False, False, True, False, True, False]])
  y, _ = apply(variables, x, None, reset)
  alone = [apply(variables, x[:, a:b])[0] for a, b in ((0, 2), (2, 4), (4, 6))]
  np.testing.assert_allclose(y, jnp.concatenate(alone, 1), **_CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("mixer", "remat"),
  [
    pytest.param("gru", False, marks=pytest.mark.slow),
    ("s5", True),
    pytest.param("s5", False, marks=pytest.mark.slow),
  ],
)
def test_scanned_layers_equal_separate_ones(mixer, remat):
  model, variables = _model(mixer, final_norm=False)
  scanned, shapes = _model(mixer, scan_layers=True, remat=remat)
  stacked = _stacked(variables)
  chex.assert_trees_all_equal_shapes_and_dtypes(stacked, shapes)
  x = _x(2, 5)

  def loss(model, variables):
    y, states = model.apply(variables, x)
    return jnp.sum(y * y), (y, states)

  def run(model, variables):
    function = jax.value_and_grad(functools.partial(loss, model), has_aux=True)
    return jax.jit(function)(variables)

  (value, (y, states)), gradient = run(model, variables)
  states = jax.tree.map(lambda *leaves: jnp.stack(leaves, 1), *states)
  chex.assert_trees_all_close(
    run(scanned, stacked),
    ((value, (y, states)), _stacked(gradient)),
    rtol=1e-3,
    atol=1e-4,
  )


def test_scanned_layers_draw_different_parameters():
  _, variables = _model(scan_layers=True)
  kernel = variables["params"]["layers"]["mixer"]["W"]
  assert jnp.abs(kernel[0] - kernel[1]).max() > 0.01


@pytest.mark.slow
def test_remat_saves_memory_and_changes_nothing():
  x = _x(8, 64)
  rngs = {"dropout": jax.random.key(2)}

  def run(remat):
    model, variables = _model(
      num_layers=6, dropout=0.2, scan_layers=True, remat=remat
    )

    def loss(variables):
      y, _ = model.apply(variables, x, train=True, rngs=rngs)
      return jnp.sum(y * y)

    compiled = jax.jit(jax.grad(loss)).lower(variables).compile()
    return compiled(variables), compiled.memory_analysis().temp_size_in_bytes

  (plain, plain_size), (remat, remat_size) = run(False), run(True)
  # The sum of 2,048 squares has gradients of about 1e3.
  chex.assert_trees_all_close(remat, plain, rtol=1e-3, atol=1e-2)
  assert remat_size < 0.75 * plain_size


@pytest.mark.slow
def test_remat_of_separate_layers():
  """Its memory is the compiler's choice; that it is asked for can be seen."""
  model, variables = _model(remat=True, norm="batch")

  def loss(variables):
    y, _ = model.apply(
      variables, _x(2, 5), train=True, mutable=["batch_stats"]
    )[0]
    return jnp.sum(y * y)

  text = str(jax.make_jaxpr(jax.grad(loss))(variables))
  assert text.count("prevent_cse=True") >= 2


def test_compile_time_does_not_grow_with_scanned_layers():
  def size(num_layers, scan_layers):
    model = nn.SequenceModel(
      _config(num_layers=num_layers, scan_layers=scan_layers)
    )
    variables = jax.eval_shape(model.init, jax.random.key(0), _x(2, 5))
    return len(str(jax.make_jaxpr(model.apply)(variables, _x(2, 5))))

  assert size(8, True) < 1.05 * size(2, True)
  assert size(8, False) > 3 * size(2, False)


@pytest.mark.parametrize(
  "scan_layers", [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_training_mode(scan_layers):
  model, variables = _model(
    norm="batch", dropout=0.5, scan_layers=scan_layers, final_norm=True
  )
  x = _x(4, 5)

  @jax.jit
  def apply(key):
    return model.apply(
      variables, x, train=True, rngs={"dropout": key}, mutable=["batch_stats"]
    )

  outputs = [apply(jax.random.key(seed)) for seed in (0, 0, 1)]
  ((y, _), changed), ((again, _), _), ((other, _), _) = outputs
  np.testing.assert_array_equal(y, again)
  assert jnp.abs(y - other).max() > 0.01
  moved = jax.tree.map(
    lambda a, b: jnp.abs(a - b).max(-1).min() > 1e-4,
    changed["batch_stats"],
    variables["batch_stats"],
  )
  assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize(
  ("mixer", "scan_layers"),
  [pytest.param("gru", True, marks=pytest.mark.slow), ("s5", False)],
)
def test_bfloat16(mixer, scan_layers):
  options = {"scan_layers": scan_layers}
  model, variables = _model(mixer, dtype="bfloat16", **options)
  y, states = jax.jit(model.apply)(variables, _x(2, 5))
  assert y.dtype == jnp.bfloat16
  for leaf in jax.tree.leaves((variables, states)):
    assert leaf.dtype in (jnp.float32, jnp.complex64)
  full, _ = _model(mixer, **options)
  expected, _ = jax.jit(full.apply)(variables, _x(2, 5))
  difference = jnp.abs(y.astype(jnp.float32) - expected).max()
  assert difference < 2e-2 * jnp.abs(expected).max()


def test_step_without_states_starts_fresh():
  model, variables = _model("s5")
  step = jax.jit(functools.partial(model.apply, method="step"))
  y, _ = step(variables, _x(2), None)
  expected, _ = step(variables, _x(2), model.initial_state((2,)))
  np.testing.assert_array_equal(y, expected)


def test_options_reach_every_layer():
  for scan_layers in (False, True):
    model, variables = _model("s5", scan_layers=scan_layers)
    apply = jax.jit(model.apply)
    x, gaps = _x(2, 5), jnp.full((2, 5), 3.0)
    plain, _ = apply(variables, x)
    ones, _ = apply(variables, x, options={"gaps": jnp.ones((2, 5))})
    threes, _ = apply(variables, x, options={"gaps": gaps})
    np.testing.assert_allclose(plain, ones, **_CLOSE)
    assert jnp.abs(threes - plain).max() > 1e-3


@pytest.mark.slow
def test_many_seeds_in_one_program():
  model = nn.SequenceModel(_config(norm="layer"))
  keys = jax.random.split(jax.random.key(0), 3)
  x = _x(2, 5)
  many = jax.jit(jax.vmap(model.init, (0, None)))(keys, x)
  together, _ = jax.jit(jax.vmap(model.apply, (0, None)))(many, x)
  apply = jax.jit(model.apply)
  for i in range(3):
    one = jax.tree.map(lambda leaf: leaf[i], many)  # noqa: B023
    np.testing.assert_allclose(together[i], apply(one, x)[0], **_CLOSE)


class _Policy(linen.Module):
  """An actor-critic: the same model that classifies below, step by step."""

  config: nn.StackConfig

  def setup(self):
    self.encoder = nn.MLP((_D_MODEL,), gain=2**0.5, activate_last=True)
    self.memory = nn.SequenceModel(self.config)
    self.actor = nn.CategoricalHead(num_actions=3, widths=(8,))
    self.critic = nn.ValueHead(widths=(8,))

  def __call__(self, x, states=None, reset=None):
    x, states = self.memory(self.encoder(x), states, reset)
    return self.actor(x), self.critic(x), states

  def step(self, x, states, reset=None):
    x, states = self.memory.step(self.encoder(x), states, reset)
    return self.actor(x), self.critic(x), states

  @linen.nowrap
  def initial_state(self, batch_shape=()):
    return nn.SequenceModel(self.config, parent=None).initial_state(batch_shape)


@pytest.mark.slow
def test_policy_in_a_scan():
  """Log-probabilities of a rollout equal those of the parallel pass."""
  policy = _Policy(_config("s5"))
  x = jax.random.normal(jax.random.key(1), (2, 7, 6))
  reset = jnp.zeros((2, 7), bool).at[0, 3].set(True)
  variables = jax.jit(policy.init)(jax.random.key(0), x)

  @jax.jit
  def rollout(key):
    def body(carry, element):
      states, key = carry
      key, sample_key = jax.random.split(key)
      x_t, reset_t = element
      pi, value, states = policy.apply(
        variables, x_t, states, reset_t, method="step"
      )
      action = pi.sample(sample_key)
      return (states, key), (action, pi.log_prob(action), value)

    init = (policy.initial_state((2,)), key)
    elements = (x.swapaxes(0, 1), reset.T)
    return jax.lax.scan(body, init, elements)[1]

  action, log_prob, value = rollout(jax.random.key(2))
  pi, values, _ = jax.jit(policy.apply)(variables, x, None, reset)
  np.testing.assert_allclose(pi.log_prob(action.T), log_prob.T, **_CLOSE)
  np.testing.assert_allclose(values, value.T, **_CLOSE)


class _Classifier(linen.Module):
  config: nn.StackConfig

  @linen.compact
  def __call__(self, x, lengths):
    x = nn.MLP((_D_MODEL,), name="encoder")(x)
    x, _ = nn.SequenceModel(self.config, name="model")(x)
    return nn.ClassificationHead(num_classes=2, name="head")(x, lengths)


@pytest.mark.slow
@pytest.mark.parametrize("mixer", ["gru", "s5"])
def test_classifier_learns(mixer):
  """Which of two values comes first: not seen in the mean of the inputs."""
  lengths = jnp.full((32,), 6)
  label = jnp.arange(32) % 2
  first = 2.0 * label - 1
  x = jnp.zeros((32, 6, 1)).at[:, 0, 0].set(first).at[:, 3, 0].set(-first)
  classifier = _Classifier(_config(mixer, norm="layer"))
  variables = jax.jit(classifier.init)(jax.random.key(0), x, lengths)
  optimizer = optax.adam(1e-2)

  def loss(variables):
    logits = classifier.apply(variables, x, lengths)
    return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()

  @jax.jit
  def train(variables):
    def body(carry, _):
      variables, state = carry
      value, gradient = jax.value_and_grad(loss)(variables)
      updates, state = optimizer.update(gradient, state)
      return (optax.apply_updates(variables, updates), state), value

    carry = (variables, optimizer.init(variables))
    return jax.lax.scan(body, carry, length=100)[1]

  values = train(variables)
  assert values[0] > 0.4
  assert values[-1] < 0.1


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"num_layers": -1}, "num_layers: got -1, expected an integer of at least"),
    (
      {"final_norm": True, "norm": "none"},
      "final_norm: got True, expected Fal",
    ),
    ({"norm": "nrom"}, "norm: got 'nrom', expected one of 'none'"),
  ],
)
def test_bad_config(options, message):
  with pytest.raises(ValueError, match=message):
    _config(**options)


def test_bad_states():
  model, variables = _model()
  states = model.initial_state((2,))
  with pytest.raises(ValueError, match="states: got .* as from initial_state"):
    model.apply(variables, _x(2, 5), states[:1])
  with pytest.raises(ValueError, match="state: got .* of initial_state"):
    model.apply(variables, _x(2, 5), model.initial_state((3,)))


def test_config_is_hashable():
  config = _config(norm="rms")
  same = _config(norm="rms")
  assert hash(config) == hash(same)
  assert config == same
