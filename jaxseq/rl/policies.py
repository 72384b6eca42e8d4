"""Trained policies, each in one file, that act on observations of any source.

    policies.save("agent.safetensors", config, runner.variables)
    policy = policies.load("agent.safetensors")
    memory = policy.initial_memory()
    action, memory = policy.act(observation, memory)

The configuration and the variables also fit `evaluate` and everything else that
plays; acting needs no environment, as the file stores its spaces. The files are
safetensors with JSON in their header; loading executes no code.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import functools
import os
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import _codec
from jaxseq import validate
from jaxseq.interop import described_file
from jaxseq.interop import step_program
from jaxseq.rl import _policy_steps
from jaxseq.rl import algorithms
from jaxseq.rl import normalization
from jaxseq.rl import rollout
from jaxseq.rl import wrappers
from jaxseq.rl.envs import _described_spaces
from jaxseq.rl.envs import action_masks
from jaxseq.rl.envs import registry
from jaxseq.rl.envs import spaces
from jaxseq.types import PyTree

_SPACES = ("observation", "action", "shown")


class Memory(NamedTuple):
  """The memory of a policy between two observations of an episode.

  Attributes:
    states: states of the network's layers.
    action: the previous action.
    env_state: state of the wrappers, such as the previous images.
    first: () bool; the next observation is the first of its episode.
  """

  states: PyTree
  action: PyTree
  env_state: PyTree
  first: jax.Array


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
  """A trained policy.

      config, variables = policies.load("agent.safetensors")

  Attributes:
    config: of the algorithm that trained it; `algorithms.of(config)` is the
      algorithm, whose `player(config)` has the environment and the network.
    variables: the network's, as NumPy arrays.
    seen: options of `envs.outside.Outside`; None in files of older versions,
      which need the environment to be registered.
  """

  config: Any
  variables: PyTree
  seen: tuple[tuple[str, Any], ...] | None = None

  def __iter__(self) -> Iterator[Any]:
    """Yields the configuration and the variables."""
    return iter((self.config, self.variables))

  def initial_memory(self) -> Memory:
    """Returns the memory before the first observation of an episode."""
    env, params, network = self._player
    with jax.ensure_compile_time_eval():
      _, env_state = env.reset(jax.random.key(0), params)
    return Memory(
      states=network.initial_state((1,), variables=self.variables),
      action=spaces.zeros(env.action_space(params)),
      env_state=env_state,
      first=jnp.bool_(True),
    )

  def act(
    self, observation: PyTree, memory: Memory, key: jax.Array | None = None
  ) -> tuple[PyTree, Memory]:
    """Acts on the next observation of an episode.

    The memory provides the previous action, the flag of a first step, and
    earlier images if the network sees several.

    Args:
      observation: as the environment returns it: one element of its space,
        `observation_space`, not flattened, without a batch axis.
      memory: from `initial_memory` at the start of an episode, or from the last
        call.
      key: random key, to draw an action; the most probable one if None.

    Returns:
      The action, as the environment takes it, and the next memory.

    Raises:
      ValueError: if the observation is not in the environment's space, its mask
        allows no action, or the memory is not a `Memory`.
    """
    expected = "what initial_memory() or the last call of act returned"
    validate.instance("memory", memory, Memory, expected)
    space = self.observation_space
    observation = _described_spaces.element("observation", space, observation)
    if not isinstance(memory.first, jax.core.Tracer):
      _check_mask(self._player, observation)
    action, memory = self._decide(self.variables, observation, memory, key)
    if not isinstance(memory.first, jax.core.Tracer):
      # Environments of other libraries do not accept JAX arrays.
      action = np.asarray(action)
    return action, memory

  @property
  def observation_space(self) -> spaces.Space:
    """The space of observations."""
    env, params, _ = self._player
    return wrappers.innermost(env).observation_space(params)

  @functools.cached_property
  def _player(self) -> rollout.Player:
    """The network, and a stand-in environment that has only the spaces."""
    seen = self.seen
    seen = _seen(self.config) if seen is None else seen
    config = dataclasses.replace(
      self.config, env_id=registry.OUTSIDE, env_options=seen, env_params=()
    )
    stack = config.network.stack
    if stack.rtrl:
      # Acting needs no gradients.
      stack = dataclasses.replace(stack, rtrl=False)
      network = dataclasses.replace(config.network, stack=stack)
      config = dataclasses.replace(config, network=network)
    return algorithms.of(config).player(config)

  @functools.cached_property
  def _decide(self) -> Any:
    """The compiled function that selects actions."""
    env, params, network = self._player

    def decide(variables, observation, memory, key):
      shown = params.replace(observation=observation)
      unused = jax.random.key(0)
      restarted = env.reset(unused, shown)
      going = env.step(unused, memory.env_state, memory.action, shown)[:2]
      seen, env_state = wrappers.select(memory.first, restarted, going)
      policy, _, states = network.apply(
        variables,
        jax.tree.map(lambda x: x[None], seen),
        memory.states,
        jnp.zeros((1,), bool),
        method="step",
      )
      chosen = policy.mode() if key is None else policy.sample(key)
      action = network.actions.to_environment(chosen[0])
      return action, Memory(states, action, env_state, jnp.bool_(False))

    return jax.jit(decide)


def save(path: str | os.PathLike, config: Any, variables: PyTree) -> None:
  """Writes a policy to a file, and replaces an existing one.

  Args:
    path: the file.
    config: of the algorithm, such as `ppo.Config`. Its environment has to be
      registered, as for training: its spaces are stored in the file.
    variables: of one seed, such as `runner.variables`.

  Raises:
    TypeError: if the configuration is not one of an algorithm.
    ValueError: if JSON cannot hold a value, or the environment is unknown.
    OSError: if the file cannot be written.
  """
  algorithm = algorithms.of(config)
  names = [n for n in algorithms.names() if algorithms.get(n) is algorithm]
  described = {
    "algorithm": names[0],
    "config": _codec.encode(config, "config"),
    "spaces": _codec.encode(dict(_seen(config)), "spaces"),
  }
  variables = dict(variables)
  if normalization.COLLECTION in variables:
    statistics = variables[normalization.COLLECTION]
    variables[normalization.COLLECTION] = statistics._asdict()
  described_file.save(path, KIND, described, variables)


def load(path: str | os.PathLike) -> Trained:
  """Reads a policy that `save` wrote.

  It can act at once. To play it by `evaluate`, its environment is created: your
  own id has to be registered before that.

  Args:
    path: the file.

  Raises:
    ValueError: if the file is not a policy, is damaged, has a later format, or
      its algorithm is not registered.
    FileNotFoundError: if there is no such file.
  """
  return described_file.load(path, KIND)


def export_step(
  policy: Trained,
  path: str | os.PathLike,
  format: step_program.Form = "jax",
  *,
  deterministic: bool = True,
  batch: int | None = None,
  platforms: Sequence[str] | None = None,
) -> dict[str, Any]:
  """Exports one step of a policy, with its memory, as a program.

    policy = policies.load("agent.safetensors")
    policies.export_step(policy, "agent.onnx", "onnx")

  The program acts without jaxseq, see `interop.step_program` and
  docs/deploying.md. Its inputs are `observation` of the environment, (batch,
  ...), or `observation_NAME` for each part of one; `reset` (batch,) bool, true
  at the first observation of an episode; `last_action`, the previous action, if
  the network sees it; and the memory. It returns `action`, within the bounds of
  its space; the parameters of its distribution, such as `logits`; `value`; and
  the inputs of the next step. `next_last_action` is the action without its
  bounds, as in training; pass another action if that one was executed.

  Args:
    policy: from `load`.
    path: path of the program; agent.json and perhaps agent.npz are written
      beside it.
    format: "jax" for a program of `jax.export`, "onnx" for an ONNX graph.
    deterministic: whether to take the most probable action; otherwise it is
      sampled with an input `noise` (batch, n), which the JSON describes.
    batch: number of observations; any if None.
    platforms: platforms of a JAX program; that of this process if None.

  Returns:
    The contents of the JSON: names, shapes, dtypes and initial values.

  Raises:
    ValueError: if ONNX lacks an operation of the network.
    ModuleNotFoundError: if the extra "export" or "onnx" is not installed.
  """
  expected = "a policy, which policies.load(path) returns"
  validate.instance("policy", policy, Trained, expected)
  seen = _seen(policy.config) if policy.seen is None else policy.seen
  about = {"kind": "policy", "spaces": _codec.encode(dict(seen), "spaces")}
  step = _policy_steps.step_of(
    policy._player, policy.variables, deterministic, about
  )
  return step_program.save(path, step, format, batch=batch, platforms=platforms)


def _check_mask(player, observation):
  """Raises unless the mask of an observation allows an action."""
  _, mask = action_masks.split(observation)
  actions = player.env.action_space(player.env_params)
  if mask is not None and not action_masks.choosable(actions, mask):
    raise ValueError(
      f"{action_masks.MASK}: allows no action, expected at least one"
      f"{' of each choice' if hasattr(actions, 'sizes') else ''}."
    )


def _seen(config) -> tuple[tuple[str, Any], ...]:
  """Returns the environment options of a policy that acts alone."""
  env, params = rollout.unwrapped(
    config.env_id, config.env_options, config.env_params
  )
  describe = _described_spaces.describe
  seen = {
    "observation": describe(env.observation_space(params)),
    "action": describe(env.action_space(params)),
    "frame_stack": int(getattr(env, "frame_stack", 1)),
  }
  if getattr(env, "shows_history", False):
    seen["shown"] = describe(env.shown_space(params))
  return tuple(seen.items())


def _decode(contents):
  """Decodes the policy of a file."""
  described, variables = contents.described, contents.tree
  name = described["algorithm"]
  validate.choice("algorithm", name, algorithms.names())
  config = described["config"]
  if isinstance(config, dict):
    described_file.check_sizes(config.get("network"), contents.tensors)
  cls = algorithms.get(name).Config
  # Files lack the fields that were added after them.
  base = algorithms.published(cls)
  config = described_file.build(cls, config, "config", base)
  if normalization.COLLECTION in variables:
    statistics = variables[normalization.COLLECTION]
    described_file.check_names(statistics, normalization.Statistics._fields)
    statistics = normalization.Statistics(**statistics)
    variables[normalization.COLLECTION] = statistics
  seen = described.get("spaces")
  if seen is not None:
    seen = _decode_spaces(seen)
  return Trained(config, variables, seen)


def _decode_spaces(described):
  """Decodes the environment options of a file."""
  validate.instance("spaces", described, dict, "an object")
  needed = "observation", "action", "frame_stack"
  described_file.check_names(described, needed, ("shown",))
  validate.integer("spaces: frame_stack", described["frame_stack"], 1, 1024)
  seen = _described_spaces.frozen(_codec.decode(list(described.values())))
  seen = dict(zip(described, seen))
  for name in _SPACES:
    if name in seen:
      _described_spaces.read(seen[name], f"spaces: {name}")
  return tuple(seen.items())


KIND = described_file.Kind(
  "policy", "policies.save", ("algorithm", "config"), _decode, ("spaces",)
)
