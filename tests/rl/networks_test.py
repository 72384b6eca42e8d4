import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import mixers
from jaxseq import nn
from jaxseq.nn import distributions
from jaxseq.rl import actions
from jaxseq.rl import networks
from jaxseq.training import configuration

# The original's names for the dense layers around the memory.
_S5_DENSE = {
  "encoder_0": ("encoder", "dense_0"),
  "encoder_1": ("encoder", "dense_1"),
  "action_body_0": ("actor", "mlp", "dense_0"),
  "action_body_1": ("actor", "mlp", "dense_1"),
  "action_decoder": ("actor", "mlp", "dense_2"),
  "value_body_0": ("critic", "mlp", "dense_0"),
  "value_body_1": ("critic", "mlp", "dense_1"),
  "value_decoder": ("critic", "mlp", "dense_2"),
}
_GRU_DENSE = {f"Dense_{i}": place for i, place in enumerate(_S5_DENSE.values())}
_S5_LAYER = {"seq": "mixer", "out1": "out1", "out2": "out2", "norm": "norm"}


def put(tree, path, leaf):
  *parents, name = path
  functools.reduce(lambda node, key: node.setdefault(key, {}), parents, tree)[
    name
  ] = leaf


def s5_tree(data, kind):
  """Returns the "params" or "grad" arrays as our variables."""
  tree = {}
  for name, leaf in data.items():
    first, *rest = name.split("/")
    if first != kind:
      continue
    if rest == ["log_std"]:
      path = ("actor", "log_std")
    elif rest[0] == "s5":
      path = ("memory", rest[1], _S5_LAYER[rest[2]], rest[3])
    else:
      path = (*_S5_DENSE[rest[0]], rest[1])
    put(tree, path, leaf)
  return {"params": tree}


def gru_tree(data, kind):
  tree = {}
  for name, place in _GRU_DENSE.items():
    for part in ("kernel", "bias"):
      put(tree, (*place, part), data[f"{kind}/{name}/{part}"])

  def cell(name, part):
    return data[f"{kind}/ScannedRNN_0/GRUCell_0/{name}/{part}"]

  put(
    tree,
    ("memory", "layers_0", "mixer"),
    {
      "W": np.stack([cell(g, "kernel") for g in ("ir", "iz", "in")], axis=1),
      "R": np.stack([cell(g, "kernel") for g in ("hn", "hr", "hz")], axis=1)[
        None
      ],
      "b": np.stack([cell(g, "bias") for g in ("hn", "ir", "iz", "in")]),
    },
  )
  return {"params": tree}


def load(golden, name):
  """Returns a golden file: network, variables, gradients, states, inputs."""
  data = golden(f"icrl/{name}")
  outputs = data["logits"].shape[-1]
  kind = "gaussian" if data["opt_CONTINUOUS"] else "categorical"
  spec = actions.Spec(kind, (outputs,))
  shape = {"encoder_widths": (9,), "head_widths": (9, 9)}
  if name.startswith("gru"):
    config = networks.Config(
      nn.StackConfig(
        "gru",
        d_model=int(data["opt_GRU_SIZE"]),
        num_layers=1,
        activation="none",
        residual=False,
        norm="none",
      ),
      **shape,
    )
    tree = gru_tree
    state = mixers.get("gru").State
    states = [(state(data["h0/0"]),), (state(data["h1/0"]),)]
  else:
    both = bool(data["opt_S5_DO_GTRXL_NORM"])
    config = networks.Config(
      nn.StackConfig(
        "s5",
        mixer_options=(
          ("ssm_size", int(data["opt_S5_SSM_SIZE"])),
          ("blocks", 1),
        ),
        d_model=int(data["opt_S5_D_MODEL"]),
        num_layers=int(data["opt_S5_N_LAYERS"]),
        activation=str(data["opt_S5_ACTIVATION"]),
        norm="layer" if data["opt_S5_DO_NORM"] else "none",
        prenorm=bool(data["opt_S5_PRENORM"]),
        gtrxl_norm=both,
        shared_norm=both,
        final_norm=False,
      ),
      **shape,
    )
    tree = s5_tree
    states = [
      tuple(data[f"{when}/{i}"][0] for i in range(config.stack.num_layers))
      for when in ("h0", "h1")
    ]
  inputs = (
    np.swapaxes(data["obs"], 0, 1),
    np.swapaxes(data["resets"], 0, 1).astype(bool),
  )
  network = networks.ActorCritic(config, spec)
  return data, network, tree(data, "params"), tree(data, "grad"), states, inputs


def scores(policy):
  if isinstance(policy, distributions.DiagonalGaussian):
    return policy.mean
  return jax.nn.log_softmax(policy.logits)


NAMES = [
  "s5_actor_critic_a",
  "s5_actor_critic_cont",
  "s5_actor_critic_norm",
  "gru_actor_critic_a",
]


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=pytest.mark.slow if name.endswith("_norm") else ())
    for name in NAMES
  ],
)
def test_golden(golden, x64, name):
  data, network, variables, gradients, states, inputs = load(golden, name)
  observation, reset = inputs

  def loss(variables):
    policy, value, after = network.apply(
      variables, observation, states[0], reset
    )
    total = jnp.sum(jnp.swapaxes(scores(policy), 0, 1) * data["w_logits"])
    total += jnp.sum(value.T * data["w_value"])
    return total, (policy, value, after)

  (total, (policy, value, after)), actual = jax.jit(
    jax.value_and_grad(loss, has_aux=True)
  )(variables)
  # Float64, and sums of at most 15 steps.
  close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9)
  close(np.swapaxes(scores(policy), 0, 1), data["logits"])
  close(value.T, data["value"])
  close(total, data["loss"])
  jax.tree.map(close, after, states[1])
  assert jax.tree.structure(actual) == jax.tree.structure(variables)
  for (path, leaf), expected in zip(
    jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(gradients)
  ):
    np.testing.assert_allclose(
      leaf,
      expected,
      rtol=1e-8,
      atol=1e-8,
      err_msg=jax.tree_util.keystr(path),
    )


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=() if name.endswith("_a") else pytest.mark.slow)
    for name in NAMES
  ],
)
def test_two_halves_and_single_steps(golden, x64, name):
  _, network, variables, _, states, inputs = load(golden, name)
  observation, reset = inputs
  apply = jax.jit(network.apply)
  policy, value, after = apply(variables, observation, states[0], reset)
  cut = 7
  first = apply(variables, observation[:, :cut], states[0], reset[:, :cut])
  second = apply(variables, observation[:, cut:], first[2], reset[:, cut:])
  close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10)
  close(np.concatenate([first[1], second[1]], axis=1), value)
  jax.tree.map(close, second[2], after)
  memory, step = (
    states[0],
    jax.jit(functools.partial(network.apply, method="step")),
  )
  for t in range(observation.shape[1]):
    policy_t, value_t, memory = step(
      variables, observation[:, t], memory, reset[:, t]
    )
    close(value_t, value[:, t])
    close(scores(policy_t), scores(policy)[:, t])
  jax.tree.map(close, memory, after)


@pytest.mark.slow
def test_parameters_at_the_size_of_the_paper():
  # Lu et al., arXiv:2303.03982: 9 numbers seen, 4 actions.
  spec = actions.Spec("categorical", (4,))
  s5 = networks.Config(
    nn.StackConfig(
      mixer_options=(("ssm_size", 256), ("blocks", 1)),
      d_model=256,
      num_layers=4,
      norm="none",
      activation="full_glu",
    )
  )
  gru = networks.Config(
    nn.StackConfig(
      "gru",
      num_layers=1,
      activation="none",
      residual=False,
      d_model=256,
      norm="none",
    )
  )

  def count(config):
    variables = jax.eval_shape(
      networks.ActorCritic(config, spec).init,
      jax.random.key(0),
      jnp.zeros((1, 1, 9)),
    )
    return sum(leaf.size for leaf in jax.tree.leaves(variables))

  assert count(s5) == 1_186_949
  assert count(gru) == 528_005


@pytest.mark.slow
def test_initialisation():
  spec = actions.Spec("categorical", (4,))
  config = networks.Config(
    nn.StackConfig(
      "gru", d_model=16, num_layers=1, norm="none", activation="full_glu"
    )
  )
  variables = jax.jit(networks.ActorCritic(config, spec).init)(
    jax.random.key(0), jnp.zeros((1, 1, 9))
  )
  params = variables["params"]

  def gain(*path):
    kernel = functools.reduce(lambda node, key: node[key], path, params)
    values = np.linalg.svd(kernel["kernel"], compute_uv=False)
    np.testing.assert_allclose(values, values[0], rtol=1e-4)
    np.testing.assert_array_equal(kernel["bias"], 0)
    return values[0]

  for name, expected in (
    (("encoder", "dense_0"), 2**0.5),
    (("encoder", "dense_1"), 2**0.5),
    (("actor", "mlp", "dense_0"), 2),
    (("actor", "mlp", "dense_2"), 0.01),
    (("critic", "mlp", "dense_1"), 2),
    (("critic", "mlp", "dense_2"), 1),
  ):
    np.testing.assert_allclose(gain(*name), expected, rtol=1e-4)


def test_no_layers_is_no_memory():
  spec = actions.Spec("categorical", (4,))
  config = networks.Config(
    nn.StackConfig(num_layers=0, d_model=8, norm="none", activation="full_glu")
  )
  network = networks.ActorCritic(config, spec)
  assert network.initial_state((3,)) == ()
  observation = jax.random.normal(jax.random.key(0), (3, 5, 9))
  variables = jax.jit(network.init)(jax.random.key(1), observation)
  apply = jax.jit(network.apply)
  _, value, states = apply(variables, observation, ())
  assert states == ()
  _, shuffled, _ = apply(variables, observation[:, ::-1], ())
  np.testing.assert_allclose(shuffled[:, ::-1], value, atol=1e-6)


def test_factored_policy(x64):
  logits = jax.random.normal(jax.random.key(0), (5, 7))
  policy = actions.factored((3, 4), logits)
  parts = [
    distributions.Categorical(logits[:, :3]),
    distributions.Categorical(logits[:, 3:]),
  ]
  action = policy.sample(jax.random.key(1))
  assert action.shape == (5, 2)
  np.testing.assert_allclose(
    policy.log_prob(action),
    parts[0].log_prob(action[:, 0]) + parts[1].log_prob(action[:, 1]),
  )
  np.testing.assert_allclose(
    policy.entropy(), parts[0].entropy() + parts[1].entropy()
  )
  np.testing.assert_array_equal(policy.mode()[:, 1], logits[:, 3:].argmax(-1))
  # Probabilities of all pairs of choices add up to one.
  pairs = jnp.stack(jnp.meshgrid(jnp.arange(3), jnp.arange(4)), -1)
  pairs = jnp.broadcast_to(pairs.reshape(12, 1, 2), (12, 5, 2))
  np.testing.assert_allclose(jnp.exp(policy.log_prob(pairs)).sum(0), 1)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"stack": {"mixer": "s6"}}, "s6"),
    ({"stack": {"mixer_options": (("ssm", 1),)}}, "ssm"),
    ({"stack": {"norm": "batch"}}, "stack.norm: got 'batch'.* environments"),
    ({"stack": {"bidirectional": True}}, "bidirectional: got .* no future"),
    ({"stack": {"num_layers": -1}}, "num_layers: got -1"),
    ({"head_widths": (0,)}, "head_widths: got"),
    ({"encoder": {"dropout": 0.5}}, "encoder.dropout: got 0.5, expected 0"),
    ({"stack": {"activation": "glu"}}, "activation"),
  ],
  ids=str,
)
def test_wrong_options(options, message):
  with pytest.raises(ValueError, match=message):
    configuration.from_config_dict(networks.Config, options)
