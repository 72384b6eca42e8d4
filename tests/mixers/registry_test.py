import subprocess
import sys

import pytest

from jaxseq import mixers
from jaxseq._registry import Registry
from jaxseq.mixers import registry
from jaxseq.mixers.gated import gru


def test_names_and_modules():
  assert {"gru", "lstm", "s5"} <= set(mixers.names())
  assert mixers.names() == tuple(sorted(mixers.names()))
  assert mixers.get("gru") is gru


def test_import_is_lazy():
  code = (
    "import sys, jaxseq.mixers as m; m.names();"
    "assert 'jaxseq.mixers.gated.gru' not in sys.modules;"
    "m.get('gru'); assert 'jaxseq.mixers.gated.gru' in sys.modules"
  )
  subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_name():
  with pytest.raises(
    ValueError, match=r"mixer: got 'grue', expected one of .*'gru', .*'lstm'"
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
      "option of mixer 'gru': got 'head', expected one of 'd_model', ",
    ),
    ({"heads": 2}, "expected d_model too"),
    ({"d_model": 8, "heads": 3}, "a multiple of heads"),
  ],
)
def test_make_config_errors(options, message):
  with pytest.raises(ValueError, match=message):
    mixers.make_config("gru", **options)


def test_module_of_another_class():
  with pytest.raises(
    ValueError, match="config: got 'builtins.int', expected the Config"
  ):
    mixers.module_of(3)


def test_traits():
  assert mixers.traits("s5").ssm_parameters[-1] == "log_step"
  assert mixers.traits(gru).schemes == ("auto", "batch", "heads", "relay")
  assert mixers.traits("aaren").schemes == ()


def test_register(monkeypatch, tmp_path):
  entries = {name: registry._MIXERS.path(name) for name in mixers.names()}
  monkeypatch.setattr(registry, "_MIXERS", Registry("mixer", entries))
  path = tmp_path / "someones_mixer.py"
  path.write_text("apply = step = None\n")
  monkeypatch.syspath_prepend(str(tmp_path))
  mixers.register("mine", "someones_mixer")
  mixers.register("mine", "someones_mixer")
  assert "mine" in mixers.names()
  with pytest.raises(ValueError, match="it lacks Config, init, initial_state"):
    mixers.get("mine")
  path.write_text(
    "import dataclasses\n"
    "init = initial_state = apply = step = None\n"
    "@dataclasses.dataclass(frozen=True)\n"
    "class Config:\n"
    "  d_model: int\n"
  )
  monkeypatch.delitem(sys.modules, "someones_mixer")
  module = mixers.get("mine")
  assert module.__name__ == "someones_mixer"
  assert mixers.module_of(mixers.make_config("mine", d_model=3)) is module
  assert mixers.traits("mine") == mixers.contract.Traits()
  with pytest.raises(ValueError, match="it stands for someones_mixer"):
    mixers.register("mine", "jaxseq.mixers.gated.gru")
