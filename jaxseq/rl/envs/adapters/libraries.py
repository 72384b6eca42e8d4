"""Environments of JAX libraries, one function of name and options per library.

Each needs the library's package, which is imported when the function is called.
Equal arguments return the same object.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.rl.envs import foreign
from jaxseq.rl.envs import registry
from jaxseq.rl.envs import spaces
from jaxseq.rl.envs.adapters import jaxmarl_teams

# Beyond the end of any episode.
_NEVER = 2**30


@functools.cache
def of_mujoco(task: Any, episode_length: int = 1000) -> foreign.Foreign:
  """Returns a task of MuJoCo Playground or of Brax, which share an interface.

  Playground's own wrappers lose the last observation of an episode and start
  each one from the same cached state. Here every episode is drawn anew, the
  last observation is in `info["final_observation"]`, and the time limit, which
  the tasks leave to their wrappers, sets `truncated`.

  Actions are (k,) float32, clipped to [-1, 1]. Observations are (d,) float32.

  The tasks terminate an episode only if the simulation has failed. Its last
  reward and observation are then often not finite: such numbers become 0.

  Args:
    task: from `mujoco_playground.registry.load`; its observations are
      vectors.
    episode_length: steps after which an episode is truncated.

  Raises:
    ValueError: the length is below 1, or observations are not vectors.
  """
  validate.positive("episode_length", episode_length)
  size = task.observation_size
  if not isinstance(size, int):
    raise ValueError(f"task: got observations {size}, expected one vector.")

  def step(state, action):
    # A copy: tasks write into the dictionaries of their input state.
    before = jax.tree.map(lambda x: x, state)
    return task.step(before, jnp.clip(action, -1, 1))

  begin, play = foreign.of_states(
    task.reset, step, lambda state: state.obs, lambda state: state.done > 0
  )

  def play_finite(key, state, action):
    played = play(key, state, action)
    shown, reward = (
      jnp.where(jnp.isfinite(x), x, 0)
      for x in (played.observation, played.reward)
    )
    return played._replace(observation=shown, reward=reward)

  return foreign.Foreign(
    type(task).__name__,
    spaces.Box(-math.inf, math.inf, (size,)),
    # The bounds of the whole suite.
    spaces.Box(-1.0, 1.0, (task.action_size,)),
    episode_length,
    begin,
    play_finite,
  )


@functools.cache
def playground(task: str, episode_length: int | None = None) -> foreign.Foreign:
  """Returns a task of MuJoCo Playground, simulated by MuJoCo's JAX code.

  Playground's default, an implementation in Warp, needs an NVIDIA GPU. Zakka et
  al., "MuJoCo Playground", arXiv:2502.08844; the tasks are those of Tassa et
  al., "DeepMind Control Suite", arXiv:1801.00690.

  Args:
    task: one of `registry.PLAYGROUND`.
    episode_length: steps after which an episode is truncated; Playground's own
      time limit if None.

  Raises:
    ValueError: the task is unknown or the length below 1.
    ModuleNotFoundError: the package `playground` is not installed.
  """
  validate.choice("task", task, registry.PLAYGROUND)
  library = foreign.needs("Playground", "mujoco_playground")
  # A task must hold concrete arrays, also if a traced program creates it.
  with jax.ensure_compile_time_eval():
    config = library.registry.get_default_config(task)
    config.impl = "jax"
    env = library.registry.load(task, config=config)
  if episode_length is None:
    episode_length = config.episode_length
  return of_mujoco(env, episode_length)


@functools.cache
def brax(
  name: str, *, episode_length: int = 1000, **options: Any
) -> foreign.Foreign:
  """Returns a task of Brax, such as "brax/ant".

  Freeman et al., "Brax", arXiv:2106.13281.

  Args:
    name: one that `brax.envs.get_environment` knows.
    episode_length: steps after which an episode is truncated; Brax's default.
    **options: of the task, such as `backend`.

  Raises:
    ValueError: there is no such task.
    ModuleNotFoundError: the package is not installed.
  """
  envs = foreign.needs("Brax", "brax.envs")
  validate.choice("env_id", name, sorted(envs._envs))
  return of_mujoco(envs.get_environment(name, **options), episode_length)


@functools.cache
def craftax(name: str) -> foreign.Foreign:
  """Returns an environment of Craftax: vectors, or images from 0 to 1.

  Matthews et al., "Craftax", arXiv:2402.16801.

  Args:
    name: one that `craftax_env.make_craftax_env_from_name` knows, without
      "AutoReset", such as "Craftax-Symbolic-v1".

  Raises:
    ValueError: there is no such environment.
    ModuleNotFoundError: the package is not installed.
  """
  library = foreign.needs("Craftax", "craftax.craftax_env")
  with jax.ensure_compile_time_eval():
    world = library.make_craftax_env_from_name(name, auto_reset=False)
    params = world.default_params
  limit = int(params.max_timesteps)
  # The adapter applies the time limit.
  params = params.replace(max_timesteps=_NEVER)
  return foreign.Foreign(
    world.name,
    foreign.convert(world.observation_space(params)),
    foreign.convert(world.action_space(params)),
    limit,
    *foreign.of_gymnax(world, params),
  )


@functools.cache
def popgym_arcade(name: str, **options: Any) -> foreign.Foreign:
  """Returns a game of POPGym Arcade: images of bytes, and one choice.

  It terminates itself, also at its time limit. Install the package without its
  dependencies (`pip install --no-deps popgym-arcade dm_pix`): they include
  a fork of gymnax that replaces gymnax. Wang et al., "POPGym Arcade",
  arXiv:2503.01450.

  Args:
    name: one that `popgym_arcade.make` knows, such as "CartPoleEasy".
    **options: of the library's `make`, such as `partial_obs=True`.

  Raises:
    ValueError: there is no such game.
    ModuleNotFoundError: the package is not installed.
  """
  library = foreign.needs(
    "POPGym Arcade",
    "popgym_arcade.registration",
    "--no-deps popgym-arcade dm_pix",
  )
  validate.choice("env_id", name, tuple(library.REGISTERED_ENVIRONMENTS))
  with jax.ensure_compile_time_eval():
    game, params = library.make(name, **options)
  # Its name in gymnax 1.0.
  game.is_terminated = game.is_terminal
  key = jax.eval_shape(lambda: jax.random.key(0))
  shown, _ = jax.eval_shape(lambda key: game.reset_env(key, params), key)

  def image(observation):
    """Converts to bytes; some versions return numbers from 0 to 1."""
    if jnp.issubdtype(shown.dtype, jnp.floating):
      observation = jnp.round(observation * 255)
    return observation.astype(jnp.uint8)

  return foreign.Foreign(
    type(game).__name__,
    spaces.Box(0, 255, shown.shape, np.dtype(np.uint8)),
    foreign.convert(game.action_space(params)),
    _NEVER,
    *foreign.of_gymnax(game, params, image),
  )


@functools.cache
def navix(
  name: str, *, observation: str | None = None, **options: Any
) -> foreign.Foreign:
  """Returns a grid of Navix, observed as flat choices or images of bytes.

  Pignatelli et al., "NAVIX", arXiv:2407.19396.

  Args:
    name: one of `navix.registry()`, such as "Navix-Empty-5x5-v0".
    observation: name of a function in `navix.observations`, such as
      "symbolic_first_person"; the library's choice if None.
    **options: of the library's `make`.

  Raises:
    ValueError: there is no such environment.
    ModuleNotFoundError: the package is not installed.
  """
  library = foreign.needs("Navix", "navix")
  validate.choice("env_id", name, tuple(sorted(library.registry())))
  if observation is not None:
    options["observation_fn"] = getattr(library.observations, observation)
  with jax.ensure_compile_time_eval():
    grid = library.make(name, disable_autoreset=True, **options)
    space = grid.observation_space
    if type(space).__name__ == "Discrete":
      sizes = np.broadcast_to(int(space.maximum.max()) + 1, space.shape)
      shown = foreign.choices(sizes)
    else:
      low, high = np.asarray(space.minimum), np.asarray(space.maximum)
      dtype = np.dtype(jnp.dtype(space.dtype))
      shown = spaces.Box(low, high, tuple(space.shape), dtype)

  def view(step):
    return step.observation.reshape(shown.shape).astype(shown.dtype)

  return foreign.Foreign(
    type(grid).__name__,
    shown,
    spaces.Discrete(len(grid.action_set)),
    grid.max_steps,
    *foreign.of_states(
      grid.reset, grid.step, view, lambda step: step.is_termination()
    ),
  )


@functools.cache
def xminigrid(name: str, **options: Any) -> foreign.Foreign:
  """Returns an environment of XLand-MiniGrid.

  Observations are the tile and the color of each cell in view, as choices.
  Nikulin et al., "XLand-MiniGrid", arXiv:2312.12044.

  Args:
    name: one of `xminigrid.registered_environments()`, such as
      "MiniGrid-EmptyRandom-5x5".
    **options: fields of the library's parameters.

  Raises:
    ValueError: there is no such environment.
    ModuleNotFoundError: the package is not installed.
  """
  library, constants = (
    foreign.needs("XLand-MiniGrid", module, "'jaxseq[xminigrid]'")
    for module in ("xminigrid", "xminigrid.core.constants")
  )
  with jax.ensure_compile_time_eval():
    grid, params = library.make(name, **options)
  shape = grid.observation_shape(params)
  if not isinstance(shape, tuple):
    raise ValueError(
      f"env_id: got 'xminigrid/{name}' with observations {shape}, expected one "
      "that shows its view alone."
    )
  sizes = constants.NUM_TILES, constants.NUM_COLORS
  return foreign.Foreign(
    type(grid).__name__,
    foreign.choices(np.broadcast_to(sizes, shape)),
    spaces.Discrete(grid.num_actions(params)),
    # The library's reward also depends on it.
    params.max_steps,
    *foreign.of_states(
      functools.partial(grid.reset, params),
      functools.partial(grid.step, params),
      lambda step: step.observation.astype(jnp.int32).reshape(-1),
      lambda step: step.discount == 0,
    ),
  )


@functools.cache
def jaxmarl(
  name: str,
  *,
  agent: str | None = None,
  players: str = "one",
  team_reward: bool = False,
  **options: Any,
) -> foreign.Foreign:
  """Returns a view of an environment of JaxMARL for one player, or for a team.

  Either one agent is played and the others choose uniformly at random, or one
  player plays all of them and earns the mean of their rewards: observations
  are then dictionaries by agent, and an action is a choice for each, in the
  order of the library's `agents`. Or each agent is a player, and all share
  a network, see `jaxmarl_teams`. Rutherford et al., "JaxMARL",
  arXiv:2311.10090.

  Args:
    name: one that `jaxmarl.make` knows, such as "MPE_simple_spread_v3".
    agent: name of the played agent; None for all of them as one player.
    players: "one", or "team" if each agent is a player.
    team_reward: whether each player of a team earns the mean reward of all.
    **options: of the library's `make`; a `scenario` of SMAX by its name.

  Raises:
    ValueError: there is no such environment or agent, or the agents of a team
      have different spaces.
    ModuleNotFoundError: the package is not installed.
  """
  validate.choice("players", players, ("one", "team"))
  library = foreign.needs("JaxMARL", "jaxmarl")
  if isinstance(options.get("scenario"), str):
    smax = foreign.needs("JaxMARL", "jaxmarl.environments.smax.smax_env")
    known = smax.MAP_NAME_TO_SCENARIO
    validate.choice("scenario", options["scenario"], tuple(known))
    options["scenario"] = known[options["scenario"]]
  with jax.ensure_compile_time_eval():
    team = library.make(name, **options)
  limit = int(getattr(team, "max_steps", _NEVER))
  names = tuple(team.agents)
  if players == "team":
    if agent is not None:
      raise validate.error("agent", agent, "None: all agents of a team play")
    return jaxmarl_teams.of_team(team, limit, team_reward)
  if team_reward:
    raise validate.error("team_reward", True, "False without players='team'")
  if agent is not None:
    validate.choice("agent", agent, names)
  played = names if agent is None else (agent,)
  seen = {n: foreign.convert(team.observation_space(n)) for n in played}
  decided = [foreign.convert(team.action_space(n)) for n in played]
  if agent is not None:
    observed, acted = seen[agent], decided[0]
  elif all(isinstance(part, spaces.Discrete) for part in decided):
    observed = spaces.Dict(seen)
    acted = spaces.MultiDiscrete([part.n for part in decided])
  else:
    expected = "the name of one: actions are no choices"
    raise validate.error("agent", None, expected)

  def view(observations):
    shown = {
      n: jnp.asarray(observations[n]).astype(space.dtype)
      for n, space in seen.items()
    }
    return shown if agent is None else shown[agent]

  def choose(key, action):
    if agent is None:
      return dict(zip(names, action))
    keys = zip(names, jax.random.split(key, len(names)))
    return {n: team.action_space(n).sample(k) for n, k in keys} | {
      agent: action
    }

  def begin(key):
    observations, team_state = team.reset(key)
    return view(observations), (jnp.int32(0), team_state)

  def play(key, task_state, action):
    time, team_state = task_state
    key_step, key_actions = jax.random.split(key)
    observations, after, rewards, dones, _ = team.step_env(
      key_step, team_state, choose(key_actions, action)
    )
    over = dones["__all__"]
    if agent is not None:
      over |= dones[agent]
    # The library terminates at the time limit, and counts the steps in
    # different fields of its states.
    after, cut = (time + 1, after), time + 1 >= limit
    reward = jnp.stack([rewards[n] for n in played]).mean()
    return foreign.Played(view(observations), after, reward, over & ~cut)

  return foreign.Foreign(team.name, observed, acted, limit, begin, play)
