"""Names of states in exported programs, which outlive the layout of files."""

import functools
import importlib
import pathlib
import re

import jax
from jax import export
import jax.numpy as jnp
import pytest

import jaxseq

# Files that hold exported programs have these names. A class may move and be
# called otherwise; its name here stays.
NAMES = {
  "jaxseq.mixers._block_keys.BlockState",
  "jaxseq.mixers._outer.ConvState",
  "jaxseq.mixers.attention.ShiftState",
  "jaxseq.mixers.elman.State",
  "jaxseq.mixers.ffm.State",
  "jaxseq.mixers.gru.State",
  "jaxseq.mixers.gsa.State",
  "jaxseq.mixers.hgrn.State",
  "jaxseq.mixers.jrt.State",
  "jaxseq.mixers.latent_attention.State",
  "jaxseq.mixers.lightnet.State",
  "jaxseq.mixers.lightnet.TpeState",
  "jaxseq.mixers.linear_attention.State",
  "jaxseq.mixers.log_linear.State",
  "jaxseq.mixers.lru.State",
  "jaxseq.mixers.lstm.State",
  "jaxseq.mixers.mamba.State",
  "jaxseq.mixers.mamba2.State",
  "jaxseq.mixers.mamba3.State",
  "jaxseq.mixers.mesa.State",
  "jaxseq.mixers.mingru.State",
  "jaxseq.mixers.minlstm.State",
  "jaxseq.mixers.mlstm.State",
  "jaxseq.mixers.mom.State",
  "jaxseq.mixers.path_attention.State",
  "jaxseq.mixers.retention.State",
  "jaxseq.mixers.rglru.State",
  "jaxseq.mixers.routing.State",
  "jaxseq.mixers.rtrl.State",
  "jaxseq.mixers.rtu.State",
  "jaxseq.mixers.rwkv4.State",
  "jaxseq.mixers.rwkv6.State",
  "jaxseq.mixers.rwkv7.State",
  "jaxseq.mixers.shm.State",
  "jaxseq.mixers.slstm.State",
  "jaxseq.mixers.ttt.State",
  "jaxseq.nn.layer.LayerState",
  "jaxseq.nn.zamba_block.LayerState",
  "jaxseq.recurrence.FadingWindowState",
  "jaxseq.recurrence.LogLinearState",
  "jaxseq.recurrence.NativeSparseState",
  "jaxseq.recurrence.PathState",
  "jaxseq.recurrence._mlstm_chunk.MLSTMState",
  "jaxseq.recurrence._softmax_state.SoftmaxState",
  "jaxseq.recurrence.clusters.ClusterState",
  "jaxseq.recurrence.ThinWindow",
  "jaxseq.recurrence.window.WindowState",
}
_DECORATED = re.compile(
  r'@_serialization\.exported\(\s*"([\w.]+)"\s*\)\nclass (\w+)\('
)


@functools.cache
def classes():
  """The classes that the package makes known, by their names in files."""
  by_name = {}
  folder = pathlib.Path(jaxseq.__file__).parent
  for path in sorted(folder.rglob("*.py")):
    for name, cls in _DECORATED.findall(path.read_text()):
      module = ".".join(path.relative_to(folder.parent).with_suffix("").parts)
      by_name[name] = getattr(importlib.import_module(module), cls)
  return by_name


def test_names_in_files_stay():
  assert classes().keys() == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_exported_programs_hold_the_name(name):
  cls = classes()[name]
  state = cls(*[jnp.zeros(())] * len(cls._fields))
  program = export.export(jax.jit(lambda state: state))(state).serialize()
  assert name.encode() in bytes(program)
  restored = export.deserialize(program).call(state)
  assert type(restored) is cls
