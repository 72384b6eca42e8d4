"""Methods are chosen by the platform that a program is lowered for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.mixers.matrix_states import gated_deltanet
from jaxseq.recurrence import kernels
from jaxseq.recurrence.platform import choice
from jaxseq.recurrence.platform import contexts
from jaxseq.recurrence.platform import registry
from jaxseq.recurrence.platform import support
from jaxseq.recurrence.platform import table

H100 = ("gpu", "sm_90")


@pytest.fixture
def arrays():
  rng = np.random.default_rng(0)
  a = rng.uniform(0.5, 1, (2, 40, 3)).astype("f4")
  return a, rng.normal(size=(2, 40, 3)).astype("f4")


def run(a, b):
  return recurrence.linear_scan(a, b)[0]


def lowered(*platforms):
  """The program of `linear_scan` for these platforms, as text."""
  shape = jax.ShapeDtypeStruct((2, 40, 3), jnp.float32)
  exported = jax.export.export(jax.jit(run), platforms=platforms)
  return exported(shape, shape).mlir_module()


@pytest.mark.parametrize(
  ("op", "platform", "shape", "method"),
  [
    ("linear", "cpu", (1, 1024, 1), "sequential"),
    ("linear", "gpu", (1, 1, 1), "sequential"),
    ("linear", "gpu", (1, 1024, 1), "associative"),
    ("outer_per_channel", "cpu", (1, 100, 1, 16, 16), "sequential"),
    ("outer_per_channel", "cpu", (1, 100, 1, 257, 1), "chunked"),
    ("outer_per_channel", "gpu", (1, 100, 1, 8, 8), "chunked"),
    ("outer", "cpu", (1, 100, 1, 8, 8), "chunked"),
    ("outer", "tpu", (1, 1, 1, 64, 64), "sequential"),
    ("softmax_outer", "cpu", (1, 1, 1, 1), "sequential"),
    ("softmax_outer", "cpu", (1, 37, 1, 1), "chunked"),
    ("softmax_outer", "gpu", (1, 1, 1, 1), "sequential"),
    ("softmax_outer", "gpu", (1, 37, 1, 1), "decays"),
    ("softmax_outer", "tpu", (1, 37, 1, 1), "chunked"),
  ],
)
def test_auto_is_decided_by_platform_and_shape(op, platform, shape, method):
  assert choice.choose(op, platform, None, jnp.float32, shape)[0] == method


def test_a_program_has_one_way_unless_the_cpu_is_asked_for(arrays):
  assert "platform_index" not in str(jax.make_jaxpr(run)(*arrays))
  with kernels.choosing_for(*H100):
    assert "platform_index" not in str(jax.make_jaxpr(run)(*arrays))
    with kernels.with_cpu():
      assert "platform_index" in str(jax.make_jaxpr(run)(*arrays))


@pytest.mark.parametrize("chip", [H100, ("tpu", "TPU v5 lite")])
def test_a_program_takes_the_way_of_its_own_platform(chip):
  with kernels.choosing_for(*chip), kernels.with_cpu():
    assert lowered("cpu").count("stablehlo.while") == 1
    assert "stablehlo.while" not in lowered("cuda")
    assert lowered("cpu", "cuda", "tpu").count("stablehlo.while") == 1


@pytest.mark.parametrize("time", [1, 40])
def test_on_the_cpu_of_a_gpu_machine_numbers_are_the_same(arrays, time):
  """Forward and gradient, in a loop over layers, recomputed, and mapped."""
  a, b = (x[:, :time] for x in arrays)

  def loss(a, b):
    def layer(x, scale):
      return jax.checkpoint(jax.vmap(run))(scale * a, x), None

    y, _ = jax.lax.scan(layer, b, jnp.array([0.9, 0.8]))
    return jnp.sum(y**2)

  gradient = jax.jit(jax.value_and_grad(loss, (0, 1)))
  expected = gradient(a, b)
  with kernels.choosing_for(*H100), kernels.with_cpu():
    found = gradient(a, b)
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_what_a_way_holds_is_chosen_for_its_platform():
  seen = set()

  def see(x, *, method):
    seen.add((contexts.machine(), method))
    inner = choice.by_platform(
      "linear", jnp.float32, (1, 40, 1), lambda x, *, method: x, x
    )
    return inner

  with kernels.choosing_for(*H100), kernels.with_cpu():
    jaxpr = jax.make_jaxpr(
      lambda x: choice.by_platform("linear", jnp.float32, (1, 40, 1), see, x)
    )(1.0)
  assert seen == {(("cpu", None), "sequential"), (("gpu", None), "associative")}
  # The inner choices are made.
  assert str(jaxpr).count("platform_index") == 1


def test_a_kernel_is_only_in_the_way_of_its_chip(monkeypatch):
  """Where the table says so: other chips take what they would without it."""
  shape = (8, 4096, 1024)
  rows = (row(*shape, method="pallas"),)
  monkeypatch.setattr(table, "ROWS", rows)
  ways = []

  def see(x, *, method, **options):
    ways.append((contexts.machine(), method))
    return x

  def traced():
    ways.clear()
    jax.make_jaxpr(
      lambda x: choice.by_platform("linear", jnp.float32, shape, see, x)
    )(1.0)
    return set(ways)

  plain = (("gpu", None), "associative")
  with kernels.choosing_for(*H100):
    kernel = {(H100, "pallas")} if jax.__version_info__ >= (0, 11) else set()
    assert traced() == {plain} | kernel
    with kernels.off():
      assert traced() == {plain}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["delta", "delta_per_channel"])
def test_exports_for_several_platforms_without_kernels(monkeypatch, name):
  """Of a mixer that would take one, alone on its chip."""
  shape = 2, 8, 4, 4
  measured = row(*shape, method="pallas", chip="TPU v5 lite")
  monkeypatch.setattr(table, "ROWS", (measured._replace(op=name),))
  decay = "channel" if name == "delta_per_channel" else "head"
  config = gated_deltanet.Config(d_model=8, heads=2, d_key=4, decay=decay)
  params = gated_deltanet.init(jax.random.key(0), config)
  x = jax.ShapeDtypeStruct((1, 8, 8), jnp.float32)

  def program(*platforms):
    def run(x):
      return gated_deltanet.apply(config, params, x)[0]

    return jax.export.export(jax.jit(run), platforms=platforms)(x)

  with kernels.choosing_for("tpu", "TPU v5 lite"):
    assert "tpu_custom_call" in program("tpu").mlir_module()
    with kernels.off():
      exported = program("cpu", "tpu", "cuda")
  assert "custom_call" not in exported.mlir_module()
  again = jax.export.deserialize(exported.serialize())
  assert set(again.platforms) == {"cpu", "tpu", "cuda"}


def test_auto_takes_no_kernel_that_does_not_take_the_sizes(monkeypatch):
  """Where a row of the table is that of smaller ones."""
  if jax.__version_info__ < (0, 11):
    pytest.skip("kernels for GPUs need jax 0.11")
  shape = (8, 4096, 1024)
  monkeypatch.setattr(table, "ROWS", (row(*shape, method="pallas"),))

  def refuse(x, *, method, **options):
    if method == "pallas":
      raise NotImplementedError("got 1024 channels, expected at most 512.")
    return x

  with kernels.choosing_for(*H100):
    found = choice.by_platform("linear", jnp.float32, shape, refuse, 1.0)
    with pytest.raises(NotImplementedError, match="a TPU, a GPU|at most 512"):
      choice.by_platform(
        "linear", jnp.float32, shape, refuse, 1.0, method="pallas"
      )
  assert found == 1.0


def test_contexts_are_part_of_what_jit_remembers():
  seen = []

  @jax.jit
  def see(x):
    seen.append((contexts.machine(), contexts.interpreted(), contexts.mode()))
    return x

  here = contexts.machine()
  see(1.0)
  with kernels.choosing_for(*H100):
    see(1.0)
    with kernels.interpret("tpu"):
      see(1.0)
  with kernels.off():
    see(1.0)
  see(1.0)
  assert seen == [
    (here, None, "auto"),
    (H100, None, "auto"),
    (H100, "tpu", "auto"),
    (here, None, "off"),
  ]


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
def test_what_the_caller_names_stays(platform):
  def sizes(x, *, method, chunk_size):
    assert (method, chunk_size) == ("chunked", 7)
    return x

  with kernels.choosing_for(platform, None):
    shape, named = (2, 40, 1, 8, 8), {"method": "chunked", "chunk_size": 7}
    x = choice.by_platform("outer", jnp.float32, shape, sizes, 1.0, **named)
  assert x == 1.0


@pytest.mark.parametrize("op", registry.KERNELS)
def test_on_takes_a_kernel_wherever_there_is_one(op):
  """And "auto" none that has not been measured."""
  shape = {"lti": (2, 300, 4, 8), "linear": (2, 300, 8)}
  shape = shape.get(op, (2, 300, 4, 8, 8)[: 4 if op == "selective" else 5])
  if op in ("delta", "delta_per_channel", "softmax_outer", "gated"):
    shape = (2, 300, 8, 8)
  for platform, chip in (H100, ("tpu", "TPU v5 lite")):
    there = support.why_not(op, platform, chip, jnp.dtype("bfloat16")) is None
    others = {("window", "gpu"): "cudnn"}.get((op, platform))
    how = op, platform, chip, jnp.dtype("bfloat16"), shape
    method, _ = choice.choose(*how, mode="on")
    assert (method == "pallas") == there
    assert there or others in (None, method)
    for mode in ("auto", "off"):
      assert choice.choose(*how, mode=mode)[0] != "pallas"
    # A chip of which nothing is known, and a CPU.
    assert choice.choose(op, platform, None, *how[3:], mode="on") == (
      choice.choose(op, platform, None, *how[3:])
    )
  on_cpu = op, "cpu", None, *how[3:]
  assert choice.choose(*on_cpu, mode="on") == choice.choose(*on_cpu)


def test_unknown_modes_are_refused():
  with pytest.raises(ValueError, match="mode: got 'yes', expected one of"):
    kernels.use("yes")


def test_there_is_a_decision_for_every_recurrence():
  shapes = dict.fromkeys(("lti", "selective"), (2, 300, 4, 8))
  shapes |= {"softmax": (2, 300, 1, 8), "softmax_outer": (2, 300, 8, 8)}
  shapes |= dict.fromkeys(("outer", "outer_per_channel"), (2, 300, 4, 8, 8))
  shapes |= {"linear": (2, 300, 8), "gated": (2, 300, 4, 8)}
  shapes |= dict.fromkeys(("delta", "delta_per_channel"), (2, 300, 8, 8))
  shapes["mlstm"] = (2, 300, 4, 8, 8)
  shapes |= {"dplr": (4, 8, 151), "window": (2, 300, 4, 8, 64)}
  assert shapes.keys() == choice._OPS.keys()
  for op, shape in shapes.items():
    for platform in ("cpu", "gpu", "tpu"):
      found = choice.choose(op, platform, None, jnp.float32, shape)
      assert found == choice.choose(op, platform, None, jnp.float32, shape)
      methods = "sequential", "associative", "chunked", "unrolled", "decays"
      assert found[0] in methods
      assert found[1].get("chunk_size", 1) in range(1, 301)


def row(*shape, method="associative", chip="sm_90"):
  return table.Row(
    "linear", chip, "float32", shape, method, {}, 1.0, 0.5, "0.11.2", "today"
  )


def test_the_nearest_row_within_a_factor_of_two_counts():
  rows = (row(8, 4096, 1024), row(8, 4096, 2048), row(8, 4096, 8, chip="x"))
  assert (
    table.find("linear", "sm_90", "float32", (8, 4000, 1100), rows) == (rows[0])
  )
  assert (
    table.find("linear", "sm_90", "float32", (4, 4096, 2000), rows) == (rows[1])
  )
  for op, chip, dtype, shape in (
    ("lti", "sm_90", "float32", (8, 4096, 1024)),
    ("linear", None, "float32", (8, 4096, 1024)),
    ("linear", "sm_90", "bfloat16", (8, 4096, 1024)),
    ("linear", "sm_90", "float32", (8, 4096, 256)),
    ("linear", "x", "float32", (32, 4096, 8)),
  ):
    assert table.find(op, chip, dtype, shape, rows) is None


def test_kernels_take_no_more_features_than_were_measured():
  def found(op, measured, shape):
    rows = (row(*measured, method="pallas")._replace(op=op),)
    return table.find(op, "sm_90", "float32", shape, rows) is not None

  # Rows, time and heads, and what takes no matrices, within a factor of two.
  assert found("gated", (8, 512, 1, 128), (16, 1024, 2, 128))
  assert found("gated", (8, 512, 1, 128), (8, 512, 1, 64))
  assert not found("gated", (8, 512, 1, 128), (8, 512, 1, 129))
  assert not found("outer", (8, 512, 4, 128, 64), (8, 512, 4, 130, 64))
  assert found("linear", (8, 512, 128), (8, 512, 130))


def test_what_a_row_says_is_fitted_to_the_shape(monkeypatch):
  measured = row(8, 512, 64, 64, method="pallas")
  options = {"chunk_size": 512, "stages": 4}
  rows = (
    measured._replace(op="lti", options=options),
    row(8, 512, 4, 8, 8, method="chunked")._replace(op="softmax_outer"),
  )
  monkeypatch.setattr(table, "ROWS", rows)
  shape = (8, 300, 64, 64)
  found = choice.choose("lti", "tpu", "sm_90", jnp.float32, shape)
  expected = choice.choose("lti", "tpu", None, jnp.float32, shape, "pallas")
  assert found == (
    "pallas",
    expected[1] | {"chunk_size": 300, "stages": 4},
  )
  # Also of what has no kernels.
  shape = (8, 512, 4, 8, 8)
  found = choice.choose("softmax_outer", *H100, jnp.float32, shape)
  assert found[0] == "chunked"


def test_long_chunks_of_outer_products_on_gpus_alone():
  def size(op, platform, time=4096):
    shape = 8, time, 32, 128, 64
    return choice.choose(op, platform, None, jnp.bfloat16, shape)[1]

  assert size("outer", "gpu") == {"chunk_size": 256}
  for op, *where in (
    ("outer", "gpu", 2048),
    ("outer", "tpu"),
    ("outer_per_channel", "gpu"),
  ):
    assert size(op, *where) == {"chunk_size": 128}


def test_why_not_is_one_sentence():
  def why_not(op="linear", platform="gpu", chip="sm_90", dtype=jnp.float32):
    return support.why_not(op, platform, chip, dtype)

  assert why_not(platform="tpu", chip="TPU v5 lite") is None
  assert "got dtype float64" in why_not(dtype=jnp.float64)
  assert "got dtype complex128" in why_not(dtype=jnp.complex128)
  assert "got platform cpu" in why_not(platform="cpu", chip=None)
  assert "got GPU sm_80" in why_not(chip="sm_80")
  assert "without kernels" in why_not(op="fft")
  new = jax.__version_info__ >= (0, 11)
  assert (why_not(dtype=jnp.bfloat16) is None) == new
  with pytest.raises(
    NotImplementedError, match="method='pallas' of linear_scan: "
  ):
    support.form("linear", jnp.float32)
  for op in registry.KERNELS:
    name = support.sentence(op, "a", "b").split()[2].rstrip(":")
    assert callable(getattr(recurrence, name))
  with kernels.interpret():
    assert support.form("linear", jnp.float32) == ("tpu", True)
