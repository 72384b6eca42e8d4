"""A policy step, from an observation to an action, as an exportable program."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.interop import step_program
from jaxseq.nn import distributions
from jaxseq.rl import q_networks
from jaxseq.rl import rollout
from jaxseq.rl import wrappers
from jaxseq.rl.envs import spaces
from jaxseq.types import PyTree


def step_of(
  player: rollout.Player,
  variables: PyTree,
  deterministic: bool,
  about: dict[str, Any],
) -> step_program.Step:
  """Returns the step of a policy, see `policies.export_step`.

  Args:
    player: the network, and a stand-in environment that has only the spaces.
    variables: the network's.
    deterministic: whether the most probable action is taken.
    about: metadata of the program, stored as JSON.
  """
  env, params, network = player
  inner = wrappers.innermost(env)
  observed = {"observation": spaces.zeros(inner.observation_space(params))}
  inputs, outline = _named(observed)
  space = spaces.convert(env.action_space(params))
  action = np.asarray(spaces.zeros(space))
  with jax.ensure_compile_time_eval():
    _, remembered = env.reset(jax.random.key(0), params)
  memory, structure = _named(remembered)
  # Of the wrappers' state a policy sees only the previous images.
  images = [name for name in memory if name.endswith("frames")]
  fresh = network.initial_state((1,), variables=variables)
  states = {"state": step_program.first_of(fresh)}
  if images:
    states["frames"] = memory[images[0]]
  shows_history = getattr(inner, "shows_history", False)
  if not shows_history and env.previous_action != "none":
    states["last_action"] = action
  shapes = {
    k: jax.ShapeDtypeStruct(x.shape, x.dtype) for k, x in inputs.items()
  }
  if not deterministic:
    size = network.actions.num_outputs
    drawn = "standard Gumbel"
    if network.actions.kind == "gaussian":
      drawn = "standard normal"
    elif isinstance(getattr(network, "network", network), q_networks.QNetwork):
      size, drawn = size + 1, "uniform, from 0 to 1"
    shapes["noise"] = jax.ShapeDtypeStruct((size,), np.dtype("float32"))
    about = about | {"noise": drawn}

  def see(observation, first, last):
    """Returns the network's input for an observation, and images to keep."""
    shown = params.replace(observation=observation["observation"])
    unused = jax.random.key(0)
    before = memory | dict(zip(images, [last.get("frames")]))
    before = jax.tree.unflatten(structure, before.values())
    fresh = env.reset(unused, shown)
    going = env.step(unused, before, last.get("last_action", action), shown)
    seen, after = wrappers.select(first, fresh, going[:2])
    return seen, [_named(after)[0][name] for name in images]

  def compute(arrays, states):
    observation = jax.tree.unflatten(outline, [arrays[name] for name in inputs])
    last = {k: x for k, x in states.items() if k != "state"}
    seen, frames = jax.vmap(see)(observation, arrays["reset"], last)
    policy, value, after = network.apply(
      variables, seen, states["state"], arrays["reset"], method="step"
    )
    chosen = policy.mode()
    if not deterministic:
      chosen = _draw(policy, arrays["noise"])
    taken = jax.vmap(network.actions.to_environment)(chosen)
    after = {"state": after, "last_action": taken}
    after |= dict(zip(["frames"], frames))
    outputs = {"action": _bounded(space, taken), **_told(policy)}
    return outputs | {"value": value}, {k: after[k] for k in states}

  return step_program.Step(compute, shapes, states, about)


def _named(tree):
  """Returns the leaves of a tree by their paths, and its structure."""
  leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
  names = (
    jax.tree_util.keystr(p, simple=True, separator="_") for p, _ in leaves
  )
  return dict(zip(names, (leaf for _, leaf in leaves))), structure


def _told(policy):
  """Returns the parameters of an action distribution, by name."""
  if hasattr(policy, "parts"):
    parts = [part.logits for part in policy.parts]
    return {"logits": jnp.concatenate(parts, axis=-1)}
  if isinstance(policy, q_networks.EpsilonGreedy):
    return {"values": policy.values}
  numbers = policy._asdict()
  return {k: jnp.broadcast_to(x, policy[0].shape) for k, x in numbers.items()}


def _draw(policy, noise):
  """Samples an action of a distribution from given noise."""
  if isinstance(policy, q_networks.EpsilonGreedy):
    drawn = jnp.where(jnp.isneginf(policy.values), -1, noise[..., :-1])
    other = jnp.argmax(drawn, axis=-1).astype(jnp.int32)
    explores = noise[..., -1] < policy.epsilon
    return jnp.where(explores, other, policy.mode())
  if hasattr(policy, "parts"):
    sizes = [part.logits.shape[-1] for part in policy.parts]
    ends = np.cumsum(sizes)[:-1].tolist()
    pairs = zip(policy.parts, jnp.split(noise, ends, axis=-1))
    return jnp.stack([_draw(*each) for each in pairs], axis=-1)
  if hasattr(policy, "logits"):
    return policy._replace(logits=policy.logits + noise).mode()
  if isinstance(policy, distributions.SquashedGaussian):
    return policy.of_noise(noise)[0]
  return policy.mean + jnp.exp(policy.log_std) * noise


def _bounded(space, action):
  """Clips an action to the bounds of its space."""
  if not isinstance(space, spaces.Box):
    return action
  low, high = (np.asarray(x, np.float32) for x in (space.low, space.high))
  if not (np.isfinite(low).any() or np.isfinite(high).any()):
    return action
  return jnp.clip(action, low, high).astype(action.dtype)
