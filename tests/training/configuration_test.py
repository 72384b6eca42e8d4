"""Configs: every field is checked, and every mistake is one sentence."""

from collections.abc import Mapping
import dataclasses
import importlib
import json
import runpy
from typing import Any
from typing import Literal

import numpy as np
import pytest

from configs.continual import digits
from configs.pictures import digits as pictures
from jaxseq.tasks import forecasting
from jaxseq.tasks.events import arms as event_arms
from jaxseq.training import configuration
from jaxseq.training import errors


@dataclasses.dataclass(frozen=True)
class Optim:
  lr: float
  schedule: Literal["constant", "linear"] = "constant"
  betas: tuple[float, float] = (0.9, 0.999)
  max_norm: float | None = None

  def __post_init__(self):
    if self.lr <= 0:
      raise ValueError(f"lr must be positive, got {self.lr}")


@dataclasses.dataclass(frozen=True)
class Config:
  optim: Optim
  name: str = "run"
  seeds: int = 2
  verbose: bool = False
  widths: tuple[int, ...] = (64,)
  layers: tuple[Optim, ...] = ()
  eval_optim: Optim | None = None
  size: int | float = 1
  label: int | str | None = None
  options: tuple[tuple[str, Any], ...] = ()
  mixer: configuration.Fields = configuration.EMPTY
  source: str = "a"
  source_options: Mapping[str, Any] = configuration.options(
    "source", {"a": {"text": str | float | None, "size": int | None}}.get
  )
  anything: Any = None


def build(**fields):
  fields.setdefault("optim", {"lr": 1e-3})
  return configuration.from_config_dict(Config, fields)


def test_defaults_stay():
  assert build() == Config(optim=Optim(lr=1e-3))


@dataclasses.dataclass(frozen=True)
class Outer:
  inner: Config = Config(Optim(lr=0.1, max_norm=3.0), seeds=5)
  other: Config | None = Config(Optim(lr=0.2))


def test_what_is_left_out_is_as_in_the_default_of_the_outer_field():
  made = configuration.from_config_dict(
    Outer, {"inner": {"optim": {"lr": 1.0}}, "other": {"seeds": 3}}
  )
  assert made == Outer(
    Config(Optim(lr=1.0, max_norm=3.0), seeds=5),
    Config(Optim(lr=0.2), seeds=3),
  )


def test_every_kind_of_field():
  config = build(
    optim={"lr": 1, "schedule": "linear", "betas": [0, 0.5], "max_norm": 2},
    name="x",
    seeds=np.int64(3),
    verbose=True,
    widths=[32, 16],
    layers=({"lr": 0.1}, {"lr": 0.2}),
    eval_optim={"lr": 2.0},
    size=3,
    label="s5",
    options={"a": 1, "b": [1, 2]},
    mixer={"d_state": 4, "blocks": [1, 2]},
    anything={"deep": {"er": [1]}},
  )
  assert config.optim == Optim(1.0, "linear", (0.0, 0.5), 2.0)
  assert isinstance(config.optim.lr, float)
  assert type(config.seeds) is int
  assert config.seeds == 3
  assert config.widths == (32, 16)
  assert config.layers == (Optim(0.1), Optim(0.2))
  assert config.eval_optim == Optim(2.0)
  assert type(config.size) is int
  assert config.options == (("a", 1), ("b", (1, 2)))
  assert dict(**config.mixer) == {"d_state": 4, "blocks": (1, 2)}
  # Static under jit: all of it can be hashed.
  hash(config)


def test_other_values_of_a_config():
  config = Config(Optim(0.1, "linear"), mixer={"a": {"b": 1, "c": 2}})
  changes = {"optim": {"lr": 2.0}, "mixer": {"a": {"b": 3}}}
  changed = configuration.updated(config, **changes, source_options={"size": 1})
  expected = Config(
    Optim(2.0, "linear"),
    mixer={"a": {"b": 3, "c": 2}},
    source_options={"size": 1},
  )
  assert changed == expected
  assert configuration.updated(changed, source_options={}).source_options == {}


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    (
      {"sedes": 1},
      "config has no field 'sedes' (did you mean 'seeds'?); its fields are: "
      "anything, eval_optim, label, layers, mixer, name, optim, options, "
      "seeds, size, source, source_options, verbose, widths",
    ),
    (
      {"optim": {"lr": 1.0}, "max_nrm": 1, "eval_optim": {"max_norm": 1.0}},
      "config has no field 'max_nrm' (did you mean 'eval_optim.max_norm'?); "
      "its fields are: anything, eval_optim, label, layers, mixer, name, "
      "optim, options, seeds, size, source, source_options, verbose, widths",
    ),
    (
      {"optim": {"lr": 1.0, "zzz": 1}},
      "config.optim has no field 'zzz'; its fields are: betas, lr, max_norm, "
      "schedule",
    ),
    (
      {"optim": {}},
      "config.optim.lr is missing: config.optim needs it, with a float",
    ),
    (
      {"optim": {"lr": "fast"}},
      "config.optim.lr: got 'fast' (str), expected a float",
    ),
    (
      {"optim": {"lr": True}},
      "config.optim.lr: got True (bool), expected a float",
    ),
    ({"optim": {"lr": None}}, "config.optim.lr: got None, expected a float"),
    (
      {"optim": {"lr": -1.0}},
      "config.optim: lr must be positive, got -1.0",
    ),
    (
      {"optim": {"lr": 1.0, "schedule": "cosine"}},
      "config.optim.schedule: got 'cosine' (str), expected one of 'constant', "
      "'linear'",
    ),
    (
      {"optim": {"lr": 1.0, "betas": (0.1,)}},
      "config.optim.betas: got (0.1,) (tuple), expected a tuple (a float, a "
      "float)",
    ),
    (
      {"optim": {"lr": 1.0, "max_norm": "1"}},
      "config.optim.max_norm: got '1' (str), expected a float or None",
    ),
    ({"seeds": 1.5}, "config.seeds: got 1.5 (float), expected an int"),
    ({"seeds": True}, "config.seeds: got True (bool), expected an int"),
    ({"verbose": 1}, "config.verbose: got 1 (int), expected a bool"),
    (
      {"widths": 64},
      "config.widths: got 64 (int), expected a tuple, each item an int",
    ),
    (
      {"widths": (1, "2")},
      "config.widths[1]: got '2' (str), expected an int",
    ),
    (
      {"layers": ({"lr": 1.0}, {"lr": "x"})},
      "config.layers[1].lr: got 'x' (str), expected a float",
    ),
    (
      {"eval_optim": {"lr": "x"}},
      "config.eval_optim.lr: got 'x' (str), expected a float",
    ),
    (
      {"eval_optim": 3},
      "config.eval_optim: got 3 (int), expected a mapping with fields of Optim "
      "(lr, schedule, betas, max_norm) or None",
    ),
    (
      {"label": 1.5},
      "config.label: got 1.5 (float), expected an int or a string or None",
    ),
    ({"mixer": "s5"}, "config.mixer: got 's5' (str), expected a mapping"),
  ],
)
def test_mistakes_are_one_sentence(fields, message):
  with pytest.raises(errors.UserError) as caught:
    build(**fields)
  assert str(caught.value) == message


def test_union_errors_name_the_union_not_an_arm():
  with pytest.raises(errors.UserError) as caught:
    build(eval_optim={"wrong": 1})
  assert "config.eval_optim has no field 'wrong'" in str(caught.value)


def test_parse_needs_a_config():
  with pytest.raises(errors.UserError, match="--config=FILE is missing"):
    configuration.load(None, (), Config)


_FILE = """
def get_config(variant="full"):
  return {
    "optim": {"lr": 0.1, "betas": (0.5, 0.6)}, "name": "run", "seeds": 2,
    "verbose": False, "layers": ({"lr": 0.1}, {"lr": 0.2}),
    "mixer": {"text": "a", "whole": 1},
    "source": "a", "source_options": {"text": None},
  }
"""


@pytest.mark.parametrize(
  ("override", "fields"),
  [
    ("optim.lr=2", {"optim": {"lr": 2.0, "betas": (0.5, 0.6)}}),
    (
      "optim.max_norm=inf",
      {"optim": {"lr": 0.1, "max_norm": np.inf, "betas": (0.5, 0.6)}},
    ),
    ("optim.betas=(0.1, 0.2)", {"optim": {"lr": 0.1, "betas": (0.1, 0.2)}}),
    ("optim.betas[1]=0.9", {"optim": {"lr": 0.1, "betas": (0.5, 0.9)}}),
    ("name=5", {"name": "5"}),
    ("verbose=true", {"verbose": True}),
    ("verbose=0", {"verbose": False}),
    ("label=s5", {"label": "s5"}),
    ("label=5", {"label": 5}),
    ("label=None", {"label": None}),
    ("eval_optim.lr=3", {"eval_optim": {"lr": 3.0}}),
    ("layers[1].lr=3", {"layers": ({"lr": 0.1}, {"lr": 3.0})}),
    ("source_options.text=7", {"source_options": {"text": "7"}}),
    ("source_options.size=7", {"source_options": {"text": None, "size": 7}}),
    (
      "mixer.new.deep=7",
      {"mixer": {"text": "a", "whole": 1, "new": {"deep": 7}}},
    ),
    ("mixer.text=a=b", {"mixer": {"text": "a=b", "whole": 1}}),
  ],
)
def test_overrides(tmp_path, override, fields):
  (tmp_path / "file.py").write_text(_FILE)
  whole = {
    "optim": {"lr": 0.1, "betas": (0.5, 0.6)},
    "layers": ({"lr": 0.1}, {"lr": 0.2}),
    "mixer": {"text": "a", "whole": 1},
    "source_options": {"text": None},
  }
  expected = build(**whole | fields)
  spec = str(tmp_path / "file.py")
  assert configuration.load(spec, [override], Config) == expected


@pytest.mark.parametrize(
  ("override", "message"),
  [
    ("seeds=x", "--config.seeds=x: expected an int"),
    ("mixer.whole=x", "--config.mixer.whole=x: expected an int"),
    ("optim.betas[2]=1", "--config.optim.betas[2]: config.optim.betas has 2 "),
    ("name.a=1", "--config.name.a: config.name is 'run', which has no fields"),
    ("optim.rate=1", "config.optim has no field 'rate'"),
    ("optim.lr=-1", "config.optim: lr must be positive"),
    ("layers[0].rate=1", "config.layers[0] has no field 'rate'"),
    (
      "mixer=s5",
      "config.mixer: got 's5' (str), expected a mapping. Set its fields one "
      "by one, as --config.mixer.text=a",
    ),
  ],
)
def test_wrong_overrides(tmp_path, override, message):
  (tmp_path / "file.py").write_text(_FILE)
  with pytest.raises(errors.UserError) as caught:
    configuration.load(str(tmp_path / "file.py"), [override], Config)
  assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
  ("text", "got"),
  [("get_config = {'optim': {'lr': 1.0}}", "a dict"), ("", "no such name")],
)
def test_a_file_has_a_function(tmp_path, text, got):
  path = tmp_path / "file.py"
  path.write_text(text)
  message = f"get_config: got {got}, expected a function .* Write `def get_conf"
  with pytest.raises(errors.UserError, match=message):
    configuration.load(str(path), [], Config)


def test_a_file_may_return_the_dataclass(tmp_path):
  (tmp_path / "file.py").write_text(
    "from tests.training import configuration_test\n"
    "def get_config():\n"
    "  optim = configuration_test.Optim(lr=0.5)\n"
    "  return configuration_test.Config(optim, seeds=3)\n"
  )
  spec = str(tmp_path / "file.py")
  made = configuration.load(spec, ["optim.lr=2", "name=x"], Config)
  assert made == Config(Optim(lr=2.0), seeds=3, name="x")


class _ConfigDict:
  """Stands for one of ml_collections, which a file of one's own may return."""

  def to_dict(self):
    return {"optim": {"lr": 0.5}}


def test_a_config_dict_is_a_mapping():
  made = configuration.from_config_dict(Config, _ConfigDict())
  assert made == Config(Optim(0.5))


def test_only_dataclasses_are_built():
  with pytest.raises(TypeError, match="cls must be a dataclass"):
    configuration.from_config_dict(dict, {})


def test_json_and_difference():
  old = configuration.to_json(build())
  new = configuration.to_json(
    build(optim={"lr": 2e-3, "max_norm": float("inf")}, widths=(64, 64))
  )
  assert old["_type"].endswith("Config")
  assert new["optim"]["max_norm"] == "Infinity"
  assert configuration.difference(old, old) == []
  assert configuration.difference(old, new) == [
    ("optim.lr", 1e-3, 2e-3),
    ("optim.max_norm", None, "Infinity"),
    ("widths", [64], [64, 64]),
  ]
  assert configuration.difference({"a": 1}, {"b": True}) == [
    ("a", 1, "(absent)"),
    ("b", "(absent)", True),
  ]
  assert configuration.difference({"a": 1}, {"a": True}) == [("a", 1, True)]
  assert configuration.difference({"a": 1}, {"a": 1.0}) == []


def test_json_tells_classes_with_the_same_fields_apart():
  make = dataclasses.make_dataclass
  one = make("One", [("d", int)], frozen=True)(1)
  two = make("Two", [("d", int)], frozen=True)(1)
  differs = configuration.difference(
    configuration.to_json(one), configuration.to_json(two)
  )
  assert [name for name, _, _ in differs] == ["_type"]


def test_json_is_the_same_however_the_program_was_started(
  tmp_path, monkeypatch, capsys
):
  program = """
import dataclasses, json
from jaxseq.tasks import forecasting
from jaxseq.tasks.events import arms as event_arms
from jaxseq.training import configuration
@dataclasses.dataclass(frozen=True)
class Config:
  a: int = 1
if __name__ == "__main__":
  print(json.dumps(configuration.to_json(Config())))
"""
  (tmp_path / "its_program.py").write_text(program)
  monkeypatch.syspath_prepend(str(tmp_path))
  runpy.run_path(str(tmp_path / "its_program.py"), run_name="__main__")
  runpy.run_module("its_program", run_name="__main__", alter_sys=True)
  config = importlib.import_module("its_program").Config()
  print(json.dumps(configuration.to_json(config)))
  shown = capsys.readouterr().out
  assert shown == '{"_type": "its_program.Config", "a": 1}\n' * 3


def test_a_folder_of_experiments_names_its_config():
  # Runs begun when it was one module continue.
  config = digits.get_config("tiny")
  assert configuration.to_json(config)["_type"] == "continual.Config"


def test_moved_modules_have_their_names_of_before_in_saved_configs():
  # Classes of folders of `tasks`, and of modules with other names.
  arms = event_arms.ArmConfig(), forecasting.ArmConfig()
  saved = [configuration.to_json(x) for x in (*arms, pictures.PIXELS)]
  assert [x["_type"] for x in saved] == [
    "event_arms.ArmConfig",
    "forecasting.ArmConfig",
    "drawn_pictures.Config",
  ]
