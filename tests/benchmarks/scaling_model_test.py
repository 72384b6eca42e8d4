"""The scaling model: what it counts, by hand, and how it grows."""

import math

import jax
import jax.numpy as jnp
import pytest

from benchmarks import scaling_model

P = jax.sharding.PartitionSpec


def on_chips(function, chips):
  mesh = jax.sharding.AbstractMesh(
    (chips,), ("time",), axis_types=(jax.sharding.AxisType.Auto,)
  )
  return jax.shard_map(
    function, mesh=mesh, in_specs=(P("time"), P()), out_specs=P("time")
  )


def test_work_is_that_of_one_chip():
  def function(x, w):
    def body(x, _):
      return jnp.tanh(x @ w), None

    return jax.lax.scan(body, x, length=5)[0]

  x = jax.ShapeDtypeStruct((32, 3), jnp.bfloat16)
  w = jax.ShapeDtypeStruct((3, 3), jnp.bfloat16)
  work = scaling_model.work_of(on_chips(function, 8), x, w)
  # Five products of (4, 3) and (3, 3).
  assert work.flops == 5 * 2 * 4 * 3 * 3
  # Each reads both and writes (4, 3); the loop reads x and w, and writes x.
  assert work.bytes == 2 * (5 * (12 + 9 + 12) + (12 + 9 + 12))


@pytest.fixture
def predict(monkeypatch):
  """Time of the chips and links of 16 chips, for a function of x and w."""

  def of(function):
    x = jax.ShapeDtypeStruct((64, 3), jnp.float32)
    w = jax.ShapeDtypeStruct((3, 3), jnp.float32)
    monkeypatch.setattr(
      scaling_model,
      "traced",
      lambda name, width, chips, local: (on_chips(function, chips), (x, w)),
    )
    return scaling_model.predict("any", 3, 16, 4)

  return of


def test_links_are_hops_and_bytes(predict):
  def function(x, w):
    return jax.lax.all_gather(x, "time", tiled=True)[: len(x)] @ w

  chip, links = predict(function)
  # 15 chips send four rows each, around a torus of 4 by 4.
  received = 15 * 4 * 3 * 4
  want = 4 * scaling_model.HOP + received / scaling_model.LINK
  assert links == pytest.approx(want, rel=1e-9)
  bytes_moved = 4 * (12 + 9 + 12)
  assert chip == pytest.approx(bytes_moved / scaling_model.HBM, rel=1e-9)


@pytest.mark.parametrize(
  ("shift", "hops", "load"),
  [
    # To the next one; from the end of a row also one column down.
    (1, 2, 1),
    # Two to the right: the second message of a row passes where the first did.
    (2, 3, 2),
    # A row down, and two rows down.
    (4, 1, 1),
    (8, 2, 2),
  ],
)
def test_messages_share_links(shift, hops, load):
  pairs = [(i, i + shift) for i in range(16 - shift)]
  assert scaling_model.torus(16) == (4, 4)
  assert scaling_model.route(pairs, 16) == (hops, load)


def test_messages_pay_for_every_hop(predict):
  def function(x, w):
    pairs = [(i, i + 8) for i in range(8)]
    return jax.lax.ppermute(x, "time", pairs) @ w

  _, links = predict(function)
  # Two messages of four rows on the links between the second and third rows,
  # in one direction.
  sent = 2 * 4 * 3 * 4
  want = 2 * scaling_model.HOP + sent / (scaling_model.LINK / 2)
  assert links == pytest.approx(want, rel=1e-9)


def test_a_fixed_share_leaves_the_chip_as_it_is_and_links_grow():
  chips, links = zip(
    *(scaling_model.predict("s5", 16, count, 1024) for count in (16, 64))
  )
  assert chips[0] == chips[1]
  # Nothing but the hops of three exchanges grows much: states are small.
  assert 1 < links[1] / links[0] <= math.sqrt(64 / 16) * 1.1
  half, _ = scaling_model.predict("s5", 16, 16, 512)
  # All but the parameters is half as much.
  assert 0.4 < half / chips[0] < 0.6
