"""Parameters that are made of tensors in several ways, and back."""

import numpy as np

from jaxseq.interop import _placement

RNG = np.random.default_rng(0)


def _check(place, shape, tensors, expected):
  assert list(place.shapes(shape)) == [tensor.shape for tensor in tensors]
  array = place.read(tensors, np.float64)
  np.testing.assert_array_equal(array, expected)
  return place.write(array)


def test_a_tensor_each():
  w = RNG.normal(size=(3, 2))
  np.testing.assert_array_equal(
    _check(_placement.linear("w"), (2, 3), [w], w.T)[0], w
  )
  taps = RNG.normal(size=(3, 1, 4))
  (again,) = _check(_placement.conv("w"), (4, 3), [taps], taps[:, 0].T)
  np.testing.assert_array_equal(again, taps)


def test_scales_and_offsets():
  w = RNG.normal(size=(4, 2))
  place = _placement.scaled(_placement.linear("w"), np.arange(1.0, 5), 1.0)
  (again,) = _check(place, (2, 4), [w], (w.T + 1) * np.arange(1, 5))
  np.testing.assert_allclose(again, w, rtol=1e-14, atol=1e-15)


def test_parts_and_stacks():
  w = RNG.normal(size=(2, 5, 3))
  low, high = (
    _placement.part(
      _placement.stacked([_placement.linear("a"), _placement.linear("b")]),
      *rows,
      5,
    )
    for rows in ((0, 2), (2, 5))
  )
  assert low.names == ("a", "b")
  _check(low, (2, 3, 2), w, w[:, :2].transpose(0, 2, 1))
  parts = _check(high, (2, 3, 3), w, w[:, 2:].transpose(0, 2, 1))
  again = high.rows.put(None, parts[0])
  np.testing.assert_array_equal(again[2:], w[0, 2:])
  again = low.rows.put(again, low.write(low.read(w, np.float64))[0])
  np.testing.assert_array_equal(again, w[0])


def test_tensors_behind_each_other():
  q, k = RNG.normal(size=(4, 3)), RNG.normal(size=(2, 3))
  b = RNG.normal(size=(2, 3))
  place = _placement.joined(
    [_placement.linear("q"), _placement.linear("k")], (4, 2), 1
  )
  twice = _placement.stacked(
    [
      place,
      _placement.joined(
        [_placement.linear("q"), _placement.linear("b")], (4, 2), 1
      ),
    ]
  )
  assert twice.names == ("q", "k", "q", "b")
  expected = np.stack([np.hstack([q.T, k.T]), np.hstack([q.T, b.T])])
  again = _check(twice, (2, 3, 6), [q, k, q, b], expected)
  for tensor, one in zip(again, (q, k, q, b), strict=True):
    np.testing.assert_array_equal(tensor, one)
