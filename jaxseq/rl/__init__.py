"""In-context reinforcement learning: environments, algorithms, evaluation."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.rl import actions as actions
  from jaxseq.rl import agents as agents
  from jaxseq.rl import algorithms as algorithms
  from jaxseq.rl import conditioned_players as conditioned_players
  from jaxseq.rl import drawings as drawings
  from jaxseq.rl import encoders as encoders
  from jaxseq.rl import envs as envs
  from jaxseq.rl import evaluate as evaluate
  from jaxseq.rl import health as health
  from jaxseq.rl import layers as layers
  from jaxseq.rl import losses as losses
  from jaxseq.rl import meta as meta
  from jaxseq.rl import meta_suites as meta_suites
  from jaxseq.rl import mixtures as mixtures
  from jaxseq.rl import networks as networks
  from jaxseq.rl import normalization as normalization
  from jaxseq.rl import policies as policies
  from jaxseq.rl import popart as popart
  from jaxseq.rl import projections as projections
  from jaxseq.rl import q_networks as q_networks
  from jaxseq.rl import recording as recording
  from jaxseq.rl import rendering as rendering
  from jaxseq.rl import replay as replay
  from jaxseq.rl import return_scale as return_scale
  from jaxseq.rl import rl_arms as rl_arms
  from jaxseq.rl import rl_report as rl_report
  from jaxseq.rl import rollout as rollout
  from jaxseq.rl import soft_networks as soft_networks
  from jaxseq.rl import wrappers as wrappers
  from jaxseq.rl.algorithms import Algorithm as Algorithm
  from jaxseq.rl.networks import Policy as Policy
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
