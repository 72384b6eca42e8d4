"""The likelihood of Hawkes processes by a scan, and its maximum."""

import jax
import numpy as np
import pytest

from jaxseq.data import point_processes
from jaxseq.tasks.events import hawkes_fit


def _known(golden):
  known = golden("events/hawkes")
  events = point_processes.Events(
    known["time"], known["mark"], known["lengths"], float(known["horizon"])
  )
  parameters = hawkes_fit.Parameters(known["mu"], known["a"], known["b"])
  return known, hawkes_fit.pack(events), parameters


@pytest.mark.usefixtures("x64")
def test_the_likelihood_is_that_of_double_sums(golden):
  known, packed, parameters = _known(golden)

  @jax.jit
  def everything(*given):
    return (
      *jax.value_and_grad(hawkes_fit.log_likelihood)(*given),
      hawkes_fit.intensities(*given),
      hawkes_fit.compensators(*given),
      hawkes_fit.em_step(*given),
    )

  value, slope, intensity, compensators, step = everything(parameters, packed)
  np.testing.assert_allclose(-value, known["nll"], rtol=1e-12)
  for name, got in slope._asdict().items():
    np.testing.assert_allclose(-got, known[f"grad_{name}"], rtol=1e-9)
  inside = np.arange(known["time"].shape[1]) < known["lengths"][:, None]
  np.testing.assert_allclose(
    np.log(intensity),
    known["log_intensity"][inside],
    rtol=1e-10,
  )
  np.testing.assert_allclose(
    compensators.sum(1), known["rescaled_gaps"], rtol=1e-10
  )
  np.testing.assert_allclose(step.mu, known["em_mu"], rtol=1e-10)
  np.testing.assert_allclose(step.a, known["em_a"], rtol=1e-10, atol=1e-15)


@pytest.mark.slow
def test_the_maximum_is_that_of_the_reference(golden):
  known, packed, _ = _known(golden)
  fit = hawkes_fit.fit(packed, 3, starts=(1.0,))
  # The reference stops 7e-5 nats before the maximum.
  assert -1e-6 < known["fit_nll"] + fit.log_likelihood < 1e-3
  for name, got in fit.parameters._asdict().items():
    np.testing.assert_allclose(got, known[f"fit_{name}"], atol=2e-5)
  # Where a is 0 there is no error; the others are between 4 and 30 percent.
  assert np.isnan(fit.errors.a[0, 2])
  assert np.isfinite(fit.errors.a).sum() == 8
  assert 0.1 < fit.errors.b < 0.4
  assert 0.4 < fit.spectral_radius < 0.6


def test_a_mark_without_events_cannot_be_fitted(golden):
  _, packed, _ = _known(golden)
  with pytest.raises(ValueError, match="no event of mark 3"):
    hawkes_fit.fit(packed, 4)


@pytest.mark.slow
def test_units_of_time_and_starts_do_not_matter(golden):
  _, packed, _ = _known(golden)
  fit = hawkes_fit.fit(packed, 3)
  longer = packed._replace(
    gap=packed.gap * 60, rest=packed.rest * 60, observed=packed.observed * 60
  )
  other = hawkes_fit.fit(longer, 3)
  np.testing.assert_allclose(other.parameters.b * 60, fit.parameters.b, 1e-6)
  np.testing.assert_allclose(other.errors.mu * 60, fit.errors.mu, 1e-4)
  nats = fit.log_likelihood - len(packed.gap) * np.log(60)
  np.testing.assert_allclose(other.log_likelihood, nats, rtol=1e-9)
  ends = [
    hawkes_fit.fit(packed, 3, starts=(start,)).parameters.b
    for start in (0.2, 1.0, 4.0)
  ]
  np.testing.assert_allclose(ends, fit.parameters.b, rtol=1e-6)
  fixed = hawkes_fit.fit(packed, 3, b=1.5)
  assert fixed.parameters.b == 1.5
  assert np.isnan(fixed.errors.b)
  assert fixed.log_likelihood < fit.log_likelihood
