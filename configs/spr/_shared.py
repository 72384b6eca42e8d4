"""Shared parts of the SPR configs."""

from configs import variants
from experiments.atari100k_suite import published
from jaxseq.rl import envs
from jaxseq.spr import spr_arms
from jaxseq.spr import variants as spr_variants
from jaxseq.training import configuration

# Networks without a mixer.
PLAIN = {
  "transition": {"stack": {"mixer": "none"}},
  "memory": {"stack": {"mixer": "none"}},
}


def atari100k(agent: str) -> variants.Variants:
  """Returns the benchmark: 100,000 steps, 100 games at the end, one seed.

  Its variants are the games, with pong first, and "tiny".

  Args:
    agent: one of `jaxseq.spr.variants`.
  """
  games = dict.fromkeys(("pong", *published.GAMES))
  configs = {game: on_atari(agent, game) for game in games}
  return variants.Variants(**configs, tiny=tiny(configs["pong"]))


def on_atari(agent: str, game: str) -> spr_arms.Config:
  """Returns the benchmark of an agent on a game."""
  learning = dict.fromkeys(("num_predictions", "spr_weight", "momentum_tau"))
  options = ("updates_per_step", "min_replay", "num_steps", "gamma")
  return spr_arms.Config(
    num_seeds=1,
    # A checkpoint contains the replay, 0.7 GB for each seed.
    chunks_per_checkpoint=40,
    keep_checkpoints=1,
    references={
      "random": published.RANDOM[game],
      "human": published.HUMAN[game],
    },
    settings={
      "env_id": envs.atari_id(game),
      "env_options": {},
      "variant": agent,
      "num_steps": 100_000,
      "batch_size": 32,
      # Other fields for the command line; None keeps the published value.
      "self_prediction": True,
      "encoder": {"channels": None},
      "head": {"hidden": None},
      **PLAIN,
      "learning": {
        "done_n": "any",
        **learning,
        "optimizer": {"learning_rate": None},
      },
      "agent": {
        **dict.fromkeys((*options, "prioritized")),
        "resets": {"every": None},
      },
    },
    arms={agent: {}},
  )


def tiny(config: spr_arms.Config, **changes: object) -> spr_arms.Config:
  """Shrinks the benchmark to a test run of seconds."""
  return configuration.updated(
    config,
    updates_per_chunk=10,
    chunks_per_checkpoint=2,
    evaluation_games=1,
    gif_frames=8,
    settings={
      "num_steps": 50,
      "batch_size": 2,
      "encoder": {"channels": (2,) * _num_layers(config)},
      "head": {"hidden": 4},
      "learning": {"num_predictions": 2},
      "agent": {"min_replay": 40, "updates_per_step": 1},
    },
    **changes,
  )


def _num_layers(config):
  """Returns the number of convolutions or stages of the agent's encoder."""
  agent = spr_variants.get(config.settings["variant"], num_actions=1)
  return len(agent.update.networks.encoder.channels)
