"""Which environments an arm is evaluated on, beside that of its training."""

import pytest

from jaxseq.rl import rl_arms
from jaxseq.training import configuration
from jaxseq.training import errors


def _configs(env_id, options, **evaluations):
  memoryless = {
    "network": {"stack": {"num_layers": 0}},
    "env_options": tuple(options.items()),
  }
  config = configuration.from_config_dict(
    rl_arms.Config,
    {
      "arms": {"none": memoryless},
      "agent": {"env_id": env_id},
      "evaluations": evaluations,
    },
  )
  arm = rl_arms.agent_config(config, "none")
  return arm, rl_arms.evaluation_configs(config, arm)


def test_options_of_the_training_stay_where_they_are_not_replaced():
  arm, further = _configs(
    "ProjectedCartPole",
    {"num_trials": 2, "keep_memory": False},
    longer={"num_trials": 5},
    same={},
  )
  assert further["same"] == arm
  options = dict(further["longer"].env_options)
  assert options == {"num_trials": 5, "keep_memory": False}
  assert _configs("ProjectedCartPole", {})[1] == {}


def test_tasks_that_were_held_out():
  _, further = _configs(
    "ProjectedControl",
    {"keep_memory": False},
    reacher={"tasks": ("Reacher-misc",)},
  )
  assert dict(further["reacher"].env_options)["tasks"] == ("Reacher-misc",)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"observation_size": 5}, "evaluations.other.*observation space"),
    ({"num_trails": 5}, "num_trails"),
    ({"num_trials": 0}, "num_trials: got 0"),
  ],
)
def test_environments_that_do_not_fit_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    _configs("ProjectedCartPole", {}, other=options)


def test_fields_of_another_algorithm_are_told_apart():
  fields = {"arms": {"a": {}}, "agent": {"gae_lambda": 0.9}}
  config = configuration.from_config_dict(
    rl_arms.Config, {**fields, "algorithm": "sac"}
  )
  message = "config.agent has no field 'gae_lambda' .* sac, .* of ppo, pqn: "
  with pytest.raises(errors.UserError, match=message):
    rl_arms.agent_config(config, "a")


def test_the_name_of_the_training_is_taken():
  with pytest.raises(errors.UserError, match="evaluations: got the name 'Proj"):
    _configs("ProjectedCartPole", {}, ProjectedCartPole={})
