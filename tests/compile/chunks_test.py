"""Chunks of training, compiled for an H100 not there: in place, on the device.

A chunk changes the state that it is given in place, and nothing in it waits for
the host: it calls nothing there, and no loop ends by what was computed.
"""

import re

import jax
import pytest

from benchmarks.accelerators import programs
from configs.dts import quick
from configs.icrl import quickstart
from configs.icrl import r2d2
from configs.synthetic import selective_copying
from experiments.synthetic import task as synthetic
from jaxseq import data
from jaxseq.programs import dts
from jaxseq.rl import rl_arms
from jaxseq.spr import runner
from jaxseq.training import configuration
from tests.compile import kernels
from tests.compile import targets

pytestmark = pytest.mark.compile

_ALIAS = re.compile(r"\{[\d, ]*\}: \(\d+, \{[\d, ]*\}, (?:may|must)-alias\)")
# Calls that wait for the host.
_HOST = re.compile(r"callback|infeed|outfeed|\b(send|recv)\(")


def of_agent(module, config_type=rl_arms.Config):
  config = configuration.from_config_dict(
    config_type, module.get_config("tiny")
  )
  (arm, *_) = rl_arms.make_arms(config).values()
  return arm.program(config)


def of_problem():
  config = configuration.from_config_dict(
    synthetic.Config, selective_copying.get_config("tiny"), name="config"
  )
  (arm, *_) = synthetic.TASK.work(config).arms.values()
  return arm.program(config)


def of_dts():
  config = configuration.from_config_dict(
    dts.Config, quick.get_config("tiny"), name="config"
  )
  splits = data.load(config.data, **config.data_options)
  (arm, *_) = dts.make_arms(config, splits).values()
  return arm.program(config)


def lower(make, place):
  """Lowers two updates, and returns the shapes of the state."""
  program = make()
  return program.lower(2, place), program.template()


def lower_spr(place):
  config, game = programs.spr_agent(tiny=True)
  lowered = runner.lower_step(config, game, sharding=place)
  state = jax.eval_shape(lambda key: runner.init(config, game, key), KEY)
  return lowered, state


KEY = jax.eval_shape(lambda: jax.random.key(0))
CHUNKS = {
  "ppo": lambda place: lower(lambda: of_agent(quickstart), place),
  "r2d2": lambda place: lower(lambda: of_agent(r2d2), place),
  "supervised": lambda place: lower(of_problem, place),
  "dts": lambda place: lower(of_dts, place),
  "spr": lower_spr,
}


@pytest.mark.parametrize("name", CHUNKS)
def test_a_chunk_is_in_place_and_asks_no_host(name):
  place = targets.sharding("cuda")
  with targets.choosing_for("cuda"):
    lowered, state = CHUNKS[name](place)
  text = lowered.compile().as_text()
  head = text.partition("\n")[0]
  changed = len(jax.tree.leaves(state))
  assert len(_ALIAS.findall(head)) >= changed
  assert not _HOST.search(text)
  # Fails where a loop ends by what it computes.
  assert kernels.count(text) > 0
