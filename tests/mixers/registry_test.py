import dataclasses
import subprocess
import sys
import types

import pytest

from jaxseq import mixers
from jaxseq.mixers import gru
from jaxseq.mixers import registry


def test_names_and_modules():
  assert {"gru", "lstm", "s5"} <= set(mixers.names())
  assert mixers.names() == tuple(sorted(mixers.names()))
  assert mixers.get("gru") is gru


def test_import_is_lazy():
  code = (
    "import sys, jaxseq.mixers as m; m.names();"
    "assert 'jaxseq.mixers.gru' not in sys.modules;"
    "m.get('gru'); assert 'jaxseq.mixers.gru' in sys.modules"
  )
  subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_name():
  with pytest.raises(
    ValueError, match=r"no mixer 'grue'; the mixers are .*gru, .*lstm, "
  ):
    mixers.get("grue")


def test_make_config():
  config = mixers.make_config("gru", d_model=8, heads=2)
  assert config == gru.Config(8, heads=2)
  assert mixers.module_of(config) is gru


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (
      {"d_model": 8, "head": 2},
      "no option head; its options are d_model, d_hidden, heads",
    ),
    ({"heads": 2}, "needs the option d_model"),
    ({"d_model": 8, "heads": 3}, "multiple of heads"),
  ],
)
def test_make_config_errors(options, message):
  with pytest.raises(ValueError, match=message):
    mixers.make_config("gru", **options)


def test_module_of_another_class():
  with pytest.raises(ValueError, match=r"config must be .*; got builtins.int"):
    mixers.module_of(3)


def test_register(monkeypatch):
  monkeypatch.setattr(registry, "_MODULES", dict(registry._MODULES))

  @dataclasses.dataclass(frozen=True)
  class Config:
    d_model: int

  module = types.ModuleType("someones_mixer")
  monkeypatch.setitem(sys.modules, "someones_mixer", module)
  mixers.register("mine", "someones_mixer")
  mixers.register("mine", "someones_mixer")
  assert "mine" in mixers.names()
  with pytest.raises(ValueError, match="lacks Config, init, initial_state"):
    mixers.get("mine")
  for name in ("init", "initial_state", "apply", "step"):
    setattr(module, name, None)
  module.Config = Config
  assert mixers.get("mine") is module
  assert mixers.module_of(mixers.make_config("mine", d_model=3)) is module
  with pytest.raises(ValueError, match="taken: it stands for someones_mixer"):
    mixers.register("mine", "jaxseq.mixers.gru")
