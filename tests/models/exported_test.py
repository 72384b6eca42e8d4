"""Programs of models, run where jaxseq cannot be imported."""

import numpy as np
import pytest

from tests import programs
from tests.models import cases

pytest.importorskip("flatbuffers")

# Kinds whose programs take sequences of any length, with the mixer GRU.
FREE = (
  *("classification", "events", "forecasting", "language"),
  *("masked_language", "pairs", "recommendation", "regression"),
  *("segmentation", "semantic_ids", "item_sentences", "next_element"),
)

# What is decoded needs to know how long.
DECODED = ("pointing", "set_pointing")
_RUN = """
import pathlib, sys
sys.modules["jaxseq"] = None
import jax, jax.export
import numpy as np
for path in sys.argv[1:]:
  program = jax.export.deserialize(bytearray(pathlib.Path(path).read_bytes()))
  given = dict(np.load(path + ".npz"))
  np.savez(path + ".out.npz", **program.call(given))
"""


def given(case, rows, time=None):
  arguments = case.model.parts.arguments(case.model.network, case.splits.test)
  axis = case.model.parts.time_axis(case.model.network)
  found = {}
  for name, x in arguments.items():
    x = np.resize(x, (rows, *x.shape[1:]))
    if time is not None and x.ndim > axis:
      x = np.resize(x, (*x.shape[:axis], time, *x.shape[axis + 1 :]))
    found[name] = x
  if time is not None and "lengths" in found:
    found["lengths"] = np.minimum(found["lengths"], time)
  return found


@pytest.mark.slow
@pytest.mark.parametrize(
  "kinds",
  [
    ("classification",),
    pytest.param(
      tuple(x for x in cases.CASES if x not in DECODED),
      marks=pytest.mark.slow,
      id="all",
    ),
  ],
)
def test_programs_run_without_jaxseq(tmp_path, kinds):
  paths, wanted = [], []
  for kind in kinds:
    case = cases.case(kind)
    path = tmp_path / kind
    case.model.export(path, time=None)
    free = any("time" in axes for _, axes in case.model.signature.values())
    assert free == (kind in FREE)
    # Two sizes of the batch, and of time where it is free.
    arguments = given(case, 3, 5 if free else None)
    np.savez(f"{path}.npz", **arguments)
    paths.append(str(path))
    compute = case.model.parts.compute
    wanted.append(compute(case.model.network, case.model.variables, arguments))
  done = programs.run("-c", _RUN, *paths)
  assert done.returncode == 0, done.stderr
  for path, outputs in zip(paths, wanted):
    with np.load(f"{path}.out.npz") as arrays:
      found = dict(arrays)
    assert set(found) == set(outputs)
    for name, want in outputs.items():
      # Op by op against one program: float32 in another order.
      np.testing.assert_allclose(found[name], want, rtol=1e-4, atol=1e-5)


def test_sizes_can_be_fixed():
  case = cases.case("classification")
  program = case.model.export(batch=2, time=7)
  assert program.call(given(case, 2))["class"].shape == (2,)
  with pytest.raises(ValueError, match=r"expected \(2, 7, 2\)"):
    program.call(given(case, 3))
  with pytest.raises(ValueError, match="batch: got 0"):
    case.model.export(batch=0)


def test_a_program_takes_lengths_as_far_as_its_mixer_has_one_form():
  case = cases.case("classification")
  program = case.model.export()
  long = given(case, 1, 512)
  assert program.call(long)["probability"].shape == (1, 3)
  with pytest.raises(ValueError, match="time"):
    program.call(given(case, 1, 513))


@pytest.mark.slow
def test_what_is_fixed_says_so():
  with pytest.raises(ValueError, match="time: got 5, expected None"):
    cases.case("codes").model.export(time=5)


@pytest.mark.slow
def test_mixers_of_several_forms_need_a_length():
  with pytest.raises(ValueError, match="no program of mamba takes"):
    cases.classes(mixer="mamba").model.export()


@pytest.mark.slow
@pytest.mark.parametrize("kind", DECODED)
def test_what_is_decoded_needs_a_length(kind):
  case = cases.case(kind)
  with pytest.raises(ValueError, match=f"no program of {kind} takes"):
    case.model.export()
  program, arguments = case.model.export(time=5), given(case, 3)
  wanted = case.model.parts.compute(
    case.model.network, case.model.variables, arguments
  )
  found = program.call(arguments)["chosen"]
  np.testing.assert_array_equal(found, wanted["chosen"])
