import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.training.devices import seeds
from tests import programs


def program(x, scale):
  noise = jax.random.normal(jax.random.key(0), (5,))
  return {"y": scale * jnp.sin(x) + noise.sum(), "n": x.sum()}


@pytest.mark.parametrize("one_by_one", [None, False, True])
@pytest.mark.parametrize("num_seeds", [1, 3])
def test_each_seed_is_a_call(num_seeds, one_by_one):
  x = jax.random.normal(jax.random.key(1), (num_seeds, 4))
  scale = jnp.arange(1.0, num_seeds + 1)
  function = seeds.jit(
    lambda both: program(*both), num_seeds, one_by_one=one_by_one
  )
  actual = function((x, scale))
  for i in range(num_seeds):
    expected = program(x[i], scale[i])
    jax.tree.map(
      lambda a, e, i=i: np.testing.assert_allclose(a[i], e, rtol=1e-6),
      actual,
      expected,
    )


@pytest.mark.parametrize("one_by_one", [None, False, True])
def test_shared_arguments_go_to_all_seeds(one_by_one):
  x = jnp.arange(6.0).reshape(3, 2)
  data = seeds.share({"table": np.arange(2.0)}, 3)
  function = seeds.jit(
    lambda x, data: x * data["table"], 3, shared=1, one_by_one=one_by_one
  )
  np.testing.assert_array_equal(function(x, data), x * np.arange(2.0))


_ON_DEVICES = """
from jaxseq.training.devices import seeds
import jax
seeds.split_cpu()
import jax.numpy as jnp
import numpy as np
cores = jax.local_device_count()
for num_seeds, used in (
  (4, {4: 4, 3: 2, 2: 2, 1: 1}),
  (3, {4: 3, 3: 3, 2: 1, 1: 1}),
):
  for one_by_one in (False, True):
    double = seeds.jit(lambda x: 2 * x, num_seeds, one_by_one=one_by_one)
    y = double(jnp.arange(num_seeds))
    assert list(np.asarray(y)) == [2 * i for i in range(num_seeds)]
    if cores in used:
      assert len(y.sharding.device_set) == used[cores], (cores, y.sharding)
print("devices", cores)
"""


@pytest.mark.parametrize(
  "count", [pytest.param(None, marks=pytest.mark.slow), 3]
)
def test_seeds_are_dealt_out_to_devices(count):
  code = _ON_DEVICES
  if count:
    setting = f"jax.config.update('jax_num_cpu_devices', {count})\n"
    code = code.replace("seeds.split_cpu()", setting + "seeds.split_cpu()")
  # With a pool of the size that users get.
  environment = {k: v for k, v in os.environ.items() if k != "NPROC"}
  result = programs.run("-c", code, env=environment)
  assert result.returncode == 0, result.stderr
  # A number that has been set is kept.
  if count:
    assert f"devices {count}" in result.stdout


@pytest.mark.parametrize(
  ("cores", "flags", "threads"),
  [
    (1, "", 2),
    (2, "", 3),
    (64, "", 65),
    (2, "--xla_force_host_platform_device_count=8 --xla_dump_to=x", 9),
    (4, "--xla_force_host_platform_device_count=2", 5),
  ],
)
def test_the_pool_has_a_thread_more_than_cores_and_devices(
  monkeypatch, cores, flags, threads
):
  monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores))
  monkeypatch.setenv("XLA_FLAGS", flags)
  monkeypatch.delenv("NPROC")
  # As where several processes have joined: no device is set.
  monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
  seeds.split_cpu()
  assert os.environ["NPROC"] == str(threads)


def test_cores_where_no_process_can_be_bound_to_some(monkeypatch):
  assert 1 <= seeds.num_cores() <= os.cpu_count()
  monkeypatch.delattr(os, "sched_getaffinity", raising=False)
  monkeypatch.setattr(os, "cpu_count", lambda: 6)
  assert seeds.num_cores() == 6


@pytest.mark.parametrize(
  ("platform", "num_seeds", "loops"),
  [("cpu", 1, False), ("cpu", 3, True), ("tpu", 3, False)],
)
def test_only_cpus_take_several_seeds_in_turn(
  monkeypatch, platform, num_seeds, loops
):
  monkeypatch.setattr(jax, "default_backend", lambda: platform)
  jaxpr = jax.make_jaxpr(seeds.over(lambda x: x @ x))(
    jnp.zeros((num_seeds, 2, 2))
  )
  assert ("scan" in str(jaxpr)) == loops


@pytest.mark.devices
@pytest.mark.parametrize("num_seeds", [1, 2])
def test_fourier_transforms_of_shared_examples(num_seeds):
  """XLA's CPU compiler fails where an axis of seeds precedes gathered ones."""
  mesh = jax.make_mesh((8,), ("data",))
  x = np.random.default_rng(0).normal(size=(16, 64, 1)).astype(np.float32)
  w = np.arange(4.0 * num_seeds, dtype=np.float32).reshape(-1, 1, 4)
  kernel = jnp.ones((4, 64))

  def function(w, x):
    return recurrence.fft_convolution(x @ w, kernel).mean(-2)

  place = jax.sharding.NamedSharding
  shared = jax.device_put(x, place(mesh, jax.sharding.PartitionSpec("data")))
  whole = place(mesh, jax.sharding.PartitionSpec())
  mapped = jax.jit(seeds.over(function, shared=1), out_shardings=whole)
  expected = np.stack([np.cumsum(x @ one, -2).mean(-2) for one in w])
  # float32 transforms of 64 elements.
  np.testing.assert_allclose(
    mapped(jax.device_put(w, whole), shared), expected, rtol=1e-4, atol=1e-3
  )
