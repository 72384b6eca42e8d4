r"""Control without velocities, which needs memory: five kinds of it.

    python -m experiments.icrl --config=configs/icrl/velocity_free.py \
      --workdir=runs/velocity_free

The cart-pole of POPGym that shows positions but not velocities. An agent
without memory (`none`) cannot know them; one that sees the last four
observations (`frames`) is the fair baseline, since a difference of two
positions is a velocity; `gru`, `s5` and `gtrxl` have longer memories.

    --config=configs/icrl/velocity_free.py:hopper-P

is a body of Brax (`pip install '.[brax]'`) that shows only its positions; "-V"
shows only its velocities, which have to be summed to positions. The bodies are
hopper, walker2d, halfcheetah and ant; any other argument is the id of an
environment, with the settings of the cart-pole. Bodies are meant for a GPU;
docs/brax_control.md is an introduction. With `,tiny` after the argument it only
checks in a minute that everything works.
"""

from configs import blocks
from configs.icrl import quickstart
from jaxseq.rl import envs
from jaxseq.rl import rl_arms
from jaxseq.rl import wrappers
from jaxseq.training import configuration

# Numbers of positions and of velocities, in this order, in Brax 0.14's
# observations of a body: joints and the torso, without its position in the
# world, which no reward depends on.
BODIES = {
  "hopper": (5, 6),
  "walker2d": (8, 9),
  "halfcheetah": (8, 9),
  "ant": (13, 14),
}
_POPGYM = "PositionOnlyCartPoleEasy"
FRAMES = {
  **quickstart.GRU,
  "mixer": "short_conv",
  "mixer_options": {"d_conv": 4},
}
ARMS = quickstart.arms(
  none={"d_model": 64, "num_layers": 0},
  frames=FRAMES,
  gru=quickstart.GRU,
  s5=quickstart.S5,
  gtrxl=blocks.gtrxl(64, window=32),
)
FULL = configuration.updated(
  quickstart.FULL,
  references={},
  agent={"env_id": _POPGYM},
  arms=ARMS,
)
# Positions and velocities of a body have very different sizes, and episodes
# last a thousand steps.
_BRAX = {
  "normalize_observation": True,
  "num_envs": 256,
  "rollout_length": 64,
  "total_steps": 50_000_000,
  "num_minibatches": 8,
  "learning_rate": 3e-4,
}


def indices(body: str, shown: str) -> tuple[int, ...]:
  """Returns the indices of the shown numbers of a body's observation.

  Args:
    body: one of `BODIES`.
    shown: "P" for positions, "V" for velocities.
  """
  positions, velocities = BODIES[body]
  return {
    "P": tuple(range(positions)),
    "V": tuple(range(positions, positions + velocities)),
  }[shown]


def _register(name: str) -> None:
  """Registers a body of Brax that shows a part, such as "hopper-P"."""
  body, shown = name.rsplit("-", 1)

  def make() -> wrappers.Shown:
    return wrappers.Shown(envs.make(f"brax/{body}")[0], indices(body, shown))

  envs.register(name, make)


for _body in BODIES:
  for _shown in "PV":
    _register(f"{_body}-{_shown}")


def get_config(argument: str = _POPGYM) -> rl_arms.Config:
  if argument == "tiny":
    argument = f"{_POPGYM},tiny"
  env_id, _, size = argument.partition(",")
  if size not in ("", "tiny"):
    raise ValueError(
      f"argument: got {argument!r}, expected ENV_ID or ENV_ID,tiny."
    )
  config = FULL
  if env_id.rpartition("-")[0] in BODIES:
    config = configuration.updated(config, agent=_BRAX)
  config = configuration.updated(config, agent={"env_id": env_id})
  if not size:
    return config
  steps = {"rollout_length": 16, "num_minibatches": 2, "total_steps": 128}
  return quickstart.small(config, **steps)
