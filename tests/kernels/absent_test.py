"""The package without the folder of kernels, and kernels of other packages."""

import os
import pathlib
import shutil
import sys

import jax.numpy as jnp
import pytest

import jaxseq
from jaxseq.recurrence import kernels
from jaxseq.recurrence.platform import registry
from tests import programs

_CODE = """
import sys
# An editable installation would find the folder where it is.
sys.meta_path = [x for x in sys.meta_path if "Editable" not in str(x)]
import jax
import jax.numpy as jnp
import numpy as np
import jaxseq
from jaxseq import mixers, recurrence
from jaxseq.recurrence import kernels, reference

try:
  import jaxseq.kernels
except ModuleNotFoundError:
  pass
else:
  raise AssertionError("the folder is there")
rng = np.random.default_rng(0)
q, k, v = (jnp.asarray(rng.normal(size=(2, 9, 4)), "f4") for _ in range(3))
decay, x = -jnp.abs(q), jnp.asarray(rng.normal(size=(9, 2, 4)), "f4")
reset = jnp.asarray(rng.random((2, 9)) < 0.3)
cases = {
  "linear": ("linear_scan", (jnp.exp(decay), v)),
  "outer": ("outer_scan", (q, k, v, decay)),
  "delta": ("delta_scan", (q, k, v, k)),
  "mlstm": ("mlstm_scan", (q, k, v, q[..., 0], decay[..., 0])),
  "softmax_outer": ("softmax_outer_scan", (q, q, k, v)),
}
for op, (name, arrays) in cases.items():
  scan, plain = getattr(recurrence, name), getattr(reference, name)
  expected, _ = plain(*arrays, reset=reset)
  with kernels.use("on"):
    got, _ = scan(*arrays, reset=reset)
  np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
  for chip in kernels.registry.KERNELS[op]:
    with kernels.interpret(chip):
      try:
        scan(*arrays, reset=reset, method="pallas")
      except NotImplementedError as error:
        assert f"got no module jaxseq.kernels.{op}.scan" in str(error), error
      else:
        raise AssertionError(op)
    machine = {"tpu": "TPU v5 lite", "gpu": "sm_90"}[chip]
    why = kernels.support.why_not(op, chip, machine, q.dtype)
    assert f"got no module jaxseq.kernels.{op}.scan" in why, why
for name in ("gru", "gated_deltanet"):
  mixer = mixers.get(name)
  config = mixer.Config(d_model=8)
  params = mixer.init(jax.random.key(0), config)
  x = jax.random.normal(jax.random.key(1), (2, 9, 8))
  with kernels.use("on"):
    y, _ = mixer.apply(config, params, x, reset=reset)
  assert np.isfinite(y).all()
print(jaxseq.__file__)
"""


def test_all_works_without_the_folder(tmp_path):
  package = pathlib.Path(jaxseq.__file__).parent
  copy = tmp_path / "jaxseq"
  shutil.copytree(
    package,
    copy,
    ignore=lambda folder, _: (
      ["kernels"] if pathlib.Path(folder) == package else []
    ),
  )
  environ = os.environ | {"PYTHONPATH": str(tmp_path)}
  result = programs.run("-c", _CODE, env=environ, cwd=tmp_path)
  assert result.returncode == 0, result.stderr
  assert result.stdout == f"{copy / '__init__.py'}\n"


def test_every_kernel_is_there_under_its_name():
  for operation, chips in registry.KERNELS.items():
    for chip in chips:
      assert registry.is_there(operation, chip)
      assert callable(registry.find(operation, chip))


def test_recurrences_load_no_kernels():
  code = """
import sys
from jaxseq import mixers, recurrence
import jax.numpy as jnp
for use in (recurrence.kernels.use("on"), recurrence.kernels.off()):
  with use:
    recurrence.outer_scan(*jnp.ones((3, 1, 9, 4)))
print([name for name in sys.modules if "jaxseq.kernels" in name])
"""
  result = programs.run("-c", code)
  assert result.stdout == "[]\n", result.stderr


def test_kernels_of_another_package(tmp_path, monkeypatch):
  (tmp_path / "other_kernels.py").write_text(
    "def scan(form, a, b, init, reset, *, reverse, **sizes):\n"
    "  return b + 1, init + 2\n"
  )
  monkeypatch.syspath_prepend(str(tmp_path))
  monkeypatch.setitem(registry.KERNELS, "linear", {})
  kernels.register("linear", "tpu", "other_kernels:scan")
  assert registry.is_there("linear", "tpu")
  assert "other_kernels" not in sys.modules
  a = b = jnp.ones((5, 3))
  with kernels.interpret("tpu"):
    h, final = jaxseq.recurrence.linear_scan(a, b, method="pallas")
  del sys.modules["other_kernels"]
  assert (h == 2).all()
  assert (final == 2).all()


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (("fft", "tpu", "a:b"), "operation: got 'fft', expected one of"),
    (("outer", "cpu", "a:b"), "chip: got 'cpu', expected one of"),
    (("outer", "tpu", "a.b"), "path: got 'a.b', expected 'package.module:"),
    (("outer", "tpu", ":b"), "path: got ':b', expected 'package.module:"),
  ],
)
def test_what_cannot_be_registered(arguments, message):
  with pytest.raises(ValueError, match=message):
    kernels.register(*arguments)
