"""Recurrent PPO with S5 in the formulation of the public in-context RL code.

Lu et al., "Structured State Space Models for In-Context Reinforcement
Learning", arXiv:2303.03982, section 4, written here to be measured against:

- axes are (time, environment); a step of a rollout is a sequence of length one
  under `jax.vmap`, discretized at that step;
- an environment resets at every step and keeps the result where an episode has
  ended, so that it shuffles a deck at every step;
- every epoch permutes and copies the rollout, and cuts it into minibatches;
- the initial step sizes are drawn one at a time.

The task is RepeatPreviousEasy with the previous action and a first-step flag.
"""

from typing import Any
from typing import NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import baselines
from jaxseq.mixers.state_space import hippo

NUM_ACTIONS = 4
_CARDS = 52
_DELAY = 4
_GAMMA, _GAE_LAMBDA, _CLIP = 0.99, 1.0, 0.2


class Game(NamedTuple):
  """State of one environment, with what its wrappers keep."""

  cards: jax.Array
  timestep: jax.Array
  episode_return: jax.Array
  returned: jax.Array  # the return of the last episode that has ended


class Transition(NamedTuple):
  """One step of all environments, as the update uses it."""

  reset: jax.Array
  action: jax.Array
  value: jax.Array
  reward: jax.Array
  log_prob: jax.Array
  observation: jax.Array
  ended: jax.Array
  returned: jax.Array


class Runner(NamedTuple):
  """All that changes during training."""

  params: Any
  opt_state: Any
  game: Game
  observation: jax.Array
  reset: jax.Array
  hidden: tuple[jax.Array, ...]
  key: jax.Array


def _observe(game, previous, first):
  suit = jnp.zeros(4).at[game.cards[game.timestep]].set(1.0)
  return jnp.concatenate([suit, previous, jnp.array([first])])


def reset_game(key):
  cards = jax.random.permutation(key, jnp.arange(_CARDS) % 4)
  game = Game(cards, jnp.int32(0), jnp.float32(0), jnp.float32(0))
  return _observe(game, jnp.zeros(NUM_ACTIONS), 1.0), game


def step_game(key, game, action):
  """Plays one step; where it ends the episode, the next one has begun."""
  scale = 1 / (_CARDS - _DELAY)
  wanted = game.cards[game.timestep - _DELAY + 1]
  reward = jnp.where(wanted == action, scale, -scale)
  reward = jnp.where(game.timestep < _DELAY - 1, 0.0, reward)
  episode_return = game.episode_return + reward
  timestep = game.timestep + 1
  ended = timestep == _CARDS - 1
  returned = jnp.where(ended, episode_return, game.returned)
  game = Game(game.cards, timestep, episode_return, returned)
  previous = jnp.zeros(NUM_ACTIONS).at[action].set(1.0)
  observation = _observe(game, previous, 0.0)
  fresh_observation, fresh = reset_game(key)
  game = jax.tree.map(
    lambda new, old: jnp.where(ended, new, old),
    fresh._replace(returned=returned),
    game,
  )
  observation = jnp.where(ended, fresh_observation, observation)
  return observation, game, reward, ended


class S5Layer(nn.Module):
  """A state-space model with resets, and `full_glu`."""

  d_model: int
  ssm_size: int

  @nn.compact
  def __call__(self, hidden, x, resets):
    """Returns the states after `x` (time, batch, d_model), and outputs."""
    Lambda, V, V_inverse = hippo.block_legs(self.ssm_size, 1, conj_sym=True)
    Lambda, V, V_inverse = (
      np.asarray(x, np.complex64) for x in (Lambda, V, V_inverse)
    )
    real = self.param("Lambda_re", lambda _: jnp.asarray(Lambda.real))
    imaginary = self.param("Lambda_im", lambda _: jnp.asarray(Lambda.imag))
    B = self.param("B", self._input_matrix, V_inverse)
    C = self.param("C", self._output_matrix, V)
    D = self.param("D", nn.initializers.normal(1.0), (self.d_model,))
    log_step = self.param("log_step", self._log_steps, len(Lambda))
    Lambda = real + 1j * imaginary
    Lambda_bar = jnp.exp(Lambda * jnp.exp(log_step))
    B_bar = ((Lambda_bar - 1) / Lambda)[:, None] * (B[..., 0] + 1j * B[..., 1])
    C = C[..., 0] + 1j * C[..., 1]

    def one(hidden, x, resets):
      Bu = jax.vmap(lambda u: B_bar @ u)(x)
      states = baselines.reset_scan(Lambda_bar, Bu, hidden, resets)
      y = jax.vmap(lambda state: 2 * (C @ state).real)(states)
      return states[-1], y + jax.vmap(lambda u: D * u)(x)

    hidden, y = jax.vmap(one, in_axes=(0, 1, 1), out_axes=(0, 1))(
      hidden, x, resets.astype(x.dtype)
    )
    y = nn.gelu(y)
    gate = nn.sigmoid(nn.Dense(self.d_model)(y))
    return hidden, x + nn.Dense(self.d_model)(y) * gate

  def _input_matrix(self, key, V_inverse):
    shape = (self.ssm_size, self.d_model)
    B = V_inverse @ nn.initializers.lecun_normal()(key, shape)
    return jnp.stack([B.real, B.imag], -1)

  def _output_matrix(self, key, V):
    shape = (self.d_model, self.ssm_size, 2)
    C = nn.initializers.lecun_normal()(key, shape)
    C = (C[..., 0] + 1j * C[..., 1]) @ V
    return jnp.stack([C.real, C.imag], -1)

  def _log_steps(self, key, number):
    low, high = np.log(0.001), np.log(0.1)
    drawn = []
    for _ in range(number):
      key, key_step = jax.random.split(key)
      drawn.append(jax.random.uniform(key_step, (1,)) * (high - low) + low)
    return jnp.concatenate(drawn)


class ActorCritic(nn.Module):
  """Encoder, S5 layers, and a head of two hidden layers for each output."""

  d_model: int
  ssm_size: int
  num_layers: int

  @nn.compact
  def __call__(self, hidden, observation, resets):
    """Returns memories, log-probabilities of actions, and values."""
    x = nn.leaky_relu(_dense(128, np.sqrt(2))(observation))
    x = nn.leaky_relu(_dense(self.d_model, np.sqrt(2))(x))
    after = []
    for state in hidden:
      state, x = S5Layer(self.d_model, self.ssm_size)(state, x, resets)
      after.append(state)
    outputs = []
    for size, gain in ((NUM_ACTIONS, 0.01), (1, 1.0)):
      y = nn.leaky_relu(_dense(128, 2.0)(x))
      y = nn.leaky_relu(_dense(128, 2.0)(y))
      outputs.append(_dense(size, gain)(y))
    return tuple(after), nn.log_softmax(outputs[0]), outputs[1][..., 0]


def _dense(size, gain):
  return nn.Dense(size, kernel_init=nn.initializers.orthogonal(gain))


def make(config):
  """Returns functions (init, update) for a `jaxseq.rl.agents.ppo.Config`."""
  memory = dict(config.network.stack.mixer_options)
  network = ActorCritic(
    config.network.stack.d_model,
    memory["ssm_size"],
    config.network.stack.num_layers,
  )
  num_envs = config.num_envs
  optimizer = optax.chain(
    optax.clip_by_global_norm(config.max_grad_norm),
    optax.adam(config.learning_rate, eps=config.adam_epsilon),
  )

  def init(key):
    key, key_params, key_games = jax.random.split(key, 3)
    observation, game = jax.vmap(reset_game)(
      jax.random.split(key_games, num_envs)
    )
    state = jnp.zeros((num_envs, memory["ssm_size"] // 2), jnp.complex64)
    hidden = (state,) * config.network.stack.num_layers
    reset = jnp.zeros(num_envs, bool)
    params = network.init(key_params, hidden, observation[None], reset[None])
    opt_state = optimizer.init(params)
    return Runner(params, opt_state, game, observation, reset, hidden, key)

  def play(runner, _):
    key, key_action, key_step = jax.random.split(runner.key, 3)
    hidden, log_probs, value = network.apply(
      runner.params, runner.hidden, runner.observation[None], runner.reset[None]
    )
    log_probs = log_probs[0]
    action = jax.random.categorical(key_action, log_probs)
    observation, game, reward, ended = jax.vmap(step_game)(
      jax.random.split(key_step, num_envs), runner.game, action
    )
    transition = Transition(
      runner.reset,
      action,
      value[0],
      reward,
      _of(log_probs, action),
      runner.observation,
      ended,
      game.returned,
    )
    runner = runner._replace(
      game=game, observation=observation, reset=ended, hidden=hidden, key=key
    )
    return runner, transition

  def loss(params, hidden, taken, advantage, target):
    _, log_probs, value = network.apply(
      params, hidden, taken.observation, taken.reset
    )
    clipped = taken.value + jnp.clip(value - taken.value, -_CLIP, _CLIP)
    errors = jnp.square(value - target), jnp.square(clipped - target)
    value_loss = 0.5 * jnp.maximum(*errors).mean()
    ratio = jnp.exp(_of(log_probs, taken.action) - taken.log_prob)
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    actor_loss = -jnp.minimum(
      ratio * advantage, jnp.clip(ratio, 1 - _CLIP, 1 + _CLIP) * advantage
    ).mean()
    entropy = -(jnp.exp(log_probs) * log_probs).sum(-1).mean()
    return actor_loss + config.value_coef * value_loss, (value_loss, entropy)

  def minibatch(carry, batch):
    params, opt_state = carry
    gradients, metrics = jax.grad(loss, has_aux=True)(params, *batch)
    updates, opt_state = optimizer.update(gradients, opt_state, params)
    return (optax.apply_updates(params, updates), opt_state), metrics

  def update(runner):
    """Plays one rollout and learns from it."""
    first = runner.hidden
    runner, taken = jax.lax.scan(play, runner, length=config.rollout_length)
    _, _, last_value = network.apply(
      runner.params, runner.hidden, runner.observation[None], runner.reset[None]
    )
    advantage = _advantages(taken, last_value[0], runner.reset)
    batch = (taken, advantage, advantage + taken.value)

    def epoch(carry, key):
      order = jax.random.permutation(key, num_envs)
      shuffled = jax.tree.map(lambda x: jnp.take(x, order, axis=1), batch)
      parts = jax.tree.map(
        lambda x: jnp.swapaxes(
          x.reshape(x.shape[0], config.num_minibatches, -1, *x.shape[2:]), 0, 1
        ),
        shuffled,
      )
      hidden = jax.tree.map(
        lambda x: x[order].reshape(config.num_minibatches, -1, x.shape[-1]),
        first,
      )
      return jax.lax.scan(minibatch, carry, (hidden, *parts))

    key, key_epochs = jax.random.split(runner.key)
    (params, opt_state), (value_loss, entropy) = jax.lax.scan(
      epoch,
      (runner.params, runner.opt_state),
      jax.random.split(key_epochs, config.num_epochs),
    )
    metrics = {
      "episode_return": (taken.returned * taken.ended).sum()
      / taken.ended.sum(),
      "value_loss": value_loss.mean(),
      "entropy": entropy.mean(),
    }
    return runner._replace(params=params, opt_state=opt_state, key=key), metrics

  return init, update


def _of(log_probs, action):
  return jnp.take_along_axis(log_probs, action[..., None], -1)[..., 0]


def _advantages(taken, last_value, last_reset):
  """Generalized advantages, from the last step to the first."""

  def step(carry, taken):
    advantage, next_value, next_reset = carry
    going = _GAMMA * (1 - next_reset)
    delta = taken.reward + going * next_value - taken.value
    advantage = delta + going * _GAE_LAMBDA * advantage
    return (advantage, taken.value, taken.reset), advantage

  start = (jnp.zeros_like(last_value), last_value, last_reset)
  return jax.lax.scan(step, start, taken, reverse=True, unroll=16)[1]
