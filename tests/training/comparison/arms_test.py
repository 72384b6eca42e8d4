"""Arms: names, what they share and override, restoring what is not there."""

from collections.abc import Mapping
import dataclasses
import re
import sys
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import validate
from jaxseq.training import checkpoint
from jaxseq.training import configuration
from jaxseq.training import errors
from jaxseq.training import scalars
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import run
from jaxseq.training.comparison import seed_program


@dataclasses.dataclass(frozen=True)
class Arm:
  rate: float = 0.1
  inner: tuple[tuple[str, int], ...] = ()

  def __post_init__(self):
    validate.above_zero("rate", self.rate)


def _config(**options):
  mapping = {"a": {}, "b": {"rate": 2}}
  return arms.Arms(arms=mapping, **options)


@dataclasses.dataclass(frozen=True)
class Shared(arms.Arms):
  _: dataclasses.KW_ONLY
  agent: Mapping[str, Any] = arms.EMPTY
  rate: float = 0.1


def _shared(**fields):
  mapping = {"a": {}, "b": {"rate": 2}}
  return Shared(mapping, agent=fields)


def test_merging():
  config = _shared(rate=0.5, inner={"x": 1})
  assert arms.merge(config, "a", Arm, "agent") == Arm(0.5, (("x", 1),))
  assert arms.merge(config, "b", Arm, "agent").rate == 2.0
  with pytest.raises(errors.UserError, match="config.arms.b has no field 'rat"):
    arms.merge(config, "b", arms.Arms)


@pytest.mark.parametrize(
  ("override", "message"),
  [
    ("arms=ffm", "config.arms: got 'ffm' (str), expected a mapping. "),
    (
      "arms.gru=ffm",
      "config: arms.gru: got 'ffm', expected a mapping of the fields in which "
      "it differs. ",
    ),
  ],
)
def test_the_name_of_a_mixer_for_arms_shows_how_to_set_it(
  tmp_path, override, message
):
  (tmp_path / "file.py").write_text(
    "get_config = lambda: {'arms': "
    "{'gru': {'network': {'d': [1], 'stack': {'mixer': 'gru'}}}}}"
  )
  with pytest.raises(errors.UserError) as caught:
    configuration.load(str(tmp_path / "file.py"), [override], arms.Arms)
  field = "--config.arms.gru.network.stack.mixer=gru"
  assert str(caught.value) == f"{message}Set its fields one by one, as {field}"


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"rtae": 1}, "config.agent has no field 'rtae' (did you mean"),
    ({"inner": {"x": 1.5}}, "config.agent.inner[0][1]: got 1.5"),
    ({"rate": "x"}, "config.agent.rate: got 'x' (str)"),
    ({"rate": -1}, "config.agent: rate: got -1"),
  ],
)
def test_a_slip_is_named_where_it_was_written(fields, message):
  with pytest.raises(errors.UserError, match=f"^{re.escape(message)}"):
    arms.merge(_shared(**fields), "a", Arm, "agent")
  wrong = dataclasses.replace(_shared(), arms={"a": fields})
  there = message.replace("config.agent", "config.arms.a")
  with pytest.raises(errors.UserError, match=f"^{re.escape(there)}"):
    arms.merge(wrong, "a", Arm)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"arms": {}}, "arms: got {}, expected at least one"),
    ({"arms": {"../up": {}}}, "arms: got '../up'"),
    ({"seed": -1}, "seed: got -1"),
    ({"num_seeds": 0}, "num_seeds: got 0, expected an integer of at least 1"),
    ({"chunks_per_checkpoint": 0}, "chunks_per_checkpoint: got 0"),
    ({"hooks": ("math",)}, "hooks: got 'math', expected"),
    ({"hooks": ("math:pi",)}, "hooks: got 'math:pi', .* function"),
    ({"hooks": ("no_such_module:f",)}, "hooks: got .*No module"),
  ],
)
def test_wrong_options(options, message):
  with pytest.raises(ValueError, match=message):
    arms.Arms(**{"arms": {"a": {}}, **options})


def test_some_arms_alone():
  config = {"arms": {"a": {}, "b": {"seed": 2}}}
  whole = configuration.from_config_dict(arms.Arms, config)
  assert list(whole.arms) == ["a", "b"]
  alone = arms.chosen(whole, names=["b"])
  assert dict(alone.arms) == {"b": whole.arms["b"]}
  del config["arms"]["a"]
  assert alone == configuration.from_config_dict(arms.Arms, config)
  with pytest.raises(ValueError, match="--arms: got 'a', expected one of 'b'"):
    arms.chosen(alone, names=["a"])


class _State(NamedTuple):
  variables: jax.Array
  n: jax.Array


def _init(key):
  return _State(jax.random.normal(key, (3,)), jnp.zeros((), jnp.int32))


def _train(state, count):
  state = _State(0.9**count * state.variables, state.n + count)
  return state, {"size": jnp.abs(state.variables).mean(axis=-1)}


def test_arms_without_a_checkpoint_are_left_out(tmp_path, capsys):
  with pytest.raises(errors.UserError, match="holds no checkpoint"):
    run.trained(["a", "b"], tmp_path)
  with checkpoint.Checkpointer(tmp_path / "b" / "checkpoints") as checkpointer:
    checkpointer.save(1, {"x": np.zeros(2)})
  assert run.trained(["a", "b", "c"], tmp_path) == ["b"]
  assert "without a checkpoint: a, c." in capsys.readouterr().out
  assert not (tmp_path / "a").exists()


def test_train_and_restore(tmp_path, monkeypatch):
  (tmp_path / "its_logger.py").write_text(
    "rows = []\ndef log(directory, step, row):"
    " rows.append((directory.name, step, *sorted(row)))\n"
  )
  monkeypatch.syspath_prepend(str(tmp_path))
  config = _config(
    hooks=("its_logger:log",),
    num_seeds=2,
    updates_per_chunk=3,
    chunks_per_checkpoint=1,
    tensorboard=False,
  )

  watched = []

  def program(num_updates):
    made = seed_program.SeedProgram(
      config,
      _init,
      _train,
      arms.split_keys(config)[0],
      examples="",
      num_updates=num_updates,
    )
    made.hooks = (lambda directory, step, row: watched.append(step),)
    return made

  with pytest.raises(
    errors.UserError, match="holds no checkpoint: train first"
  ):
    run.restore_program(program(7), tmp_path / "a")

  def train(num_updates):
    state, failed = run.train_program(
      program(num_updates), [tmp_path / "a"], config, metric="size"
    )
    assert not failed
    return state

  state = train(7)
  np.testing.assert_array_equal(state.n, [7, 7])
  step, restored = run.restore_program(program(7), tmp_path / "a")
  assert step == 7
  jax.tree.map(np.testing.assert_array_equal, restored, state)
  rows = scalars.read(tmp_path / "a")
  assert [row["step"] for row in rows] == [3, 6, 7]
  logged = sys.modules["its_logger"].rows
  assert [row[:3] for row in logged] == [
    ("a", step, "size") for step in (3, 6, 7)
  ]
  assert watched == [3, 6, 7]
  # A longer run resumes from there.
  state = train(9)
  np.testing.assert_array_equal(state.n, [9, 9])
  assert scalars.read(tmp_path / "a")[:3] == rows
