"""Tests of traversals, swaps, and the scores of an arm."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import data
from jaxseq.dts import _pictures
from jaxseq.dts import autoencoder
from jaxseq.dts import code_report
from jaxseq.dts import decoders
from jaxseq.dts import domain_adaptation
from jaxseq.dts import metrics
from jaxseq.dts import probes
from jaxseq.dts import problem
from jaxseq.dts import series_encoders

_LENGTH, _LATENT = 6, 4


def _arm(**options):
  return problem.ArmConfig(
    model=autoencoder.ModelConfig(
      series_encoders.EncoderConfig(kind="mlp", widths=(8,)),
      decoders.DecoderConfig(kind="mlp", widths=(8,)),
      latent=_LATENT,
      segments=(3, 1),
    ),
    batch_size=8,
    **options,
  )


def _windows(count, seed, targets):
  rng = np.random.default_rng(seed)
  return data.ArrayDataset(
    rng.standard_normal((count, _LENGTH, 1)).astype(np.float32),
    np.int32(targets),
    extras=data.Extras(domain=np.arange(count, dtype=np.int32) % 2),
  )


def _model():
  vae = autoencoder.VAE(_arm().model, _LENGTH, 1)
  return vae, jax.jit(vae.init)(jax.random.key(0), jnp.zeros((1, _LENGTH, 1)))


def test_traversals_move_one_coordinate():
  vae, variables = _model()
  mu = jnp.array([0.5, -1.0, 0.0, 3.0])
  moved = code_report.traversals(vae, variables, mu)
  assert moved.shape == (_LATENT, 7, _LENGTH, 1)
  expected = vae.apply(
    variables, mu.at[1].set(code_report.TRAVERSAL[2]), method="decode"
  )
  np.testing.assert_allclose(moved[1, 2], expected, atol=1e-5)  # float32
  # The last position of the last coordinate, and the middle of the third, are
  # where the code is.
  np.testing.assert_allclose(moved[3, 6], moved[2, 3], atol=1e-5)


def test_swaps_exchange_the_second_segment():
  vae, variables = _model()
  mu = jax.random.normal(jax.random.key(1), (3, _LATENT))
  swapped = code_report.swaps(vae, variables, mu)
  assert swapped.shape == (3, 3, _LENGTH, 1)
  mixed = mu[2].at[3].set(mu[0, 3])
  expected = vae.apply(variables, mixed, method="decode")
  np.testing.assert_allclose(swapped[2, 0], expected, atol=1e-5)  # float32


def _recordings(classes, domain):
  """Ten windows of each class, one class after the other."""
  targets = np.repeat(np.int32(classes), 10)
  windows = _windows(len(targets), 0, targets)
  return windows._replace(
    extras=data.Extras(domain=np.full_like(targets, domain))
  )


@pytest.mark.parametrize(
  ("classes", "expected"),
  [
    (range(6), [(0, 0), (1, 0), (2, 1), (3, 1)]),
    (range(3), [(0, 0), (1, 0), (2, 1), (0, 1)]),
    (range(2), [(0, 0), (1, 0), (0, 1), (1, 1)]),
    ([5], [(5, 0), (5, 1)]),
  ],
  ids=["six", "three", "two", "one"],
)
def test_windows_to_swap_differ_in_class_and_domain(classes, expected):
  valid, test = (_recordings(classes, domain) for domain in (0, 1))
  info = data.Info("noise", "the test", "none", num_classes=6)
  chosen = code_report._contrasting(data.Splits(valid, valid, test, info))
  got = list(zip(chosen.targets.tolist(), chosen.extras.domain.tolist()))
  assert got == expected
  assert chosen.inputs.shape == (len(expected), _LENGTH, 1)


def test_windows_to_swap_without_domains_or_classes():
  windows = _recordings(range(6), 0)
  info = data.Info("noise", "the test", "none", num_classes=6)
  chosen = code_report._contrasting(data.Splits(windows, None, windows, info))
  assert chosen.targets.tolist() == [0, 1, 2, 3]
  info = data.Info("noise", "the test", "none")
  chosen = code_report._contrasting(data.Splits(windows, None, windows, info))
  np.testing.assert_array_equal(chosen.inputs, windows.inputs[:4])


@pytest.mark.slow
def test_scores_of_two_domains(tmp_path, capsys):
  pytest.importorskip("sklearn")
  config = domain_adaptation.Config(class_size=3, domain_size=1, widths=(4,))
  arm = _arm(adaptation=config)
  labels = np.arange(32) // 2 % 3
  hidden = np.where(np.arange(32) % 2, -1, labels)
  splits = data.Splits(
    _windows(32, 0, hidden),
    _windows(16, 1, labels[:16]),
    _windows(16, 2, labels[:16]),
    data.Info("noise", "the test", "none", num_classes=3),
  )
  made = problem.Problem(arm, splits, 1)
  keys = jax.random.split(jax.random.key(0))
  variables = jax.jit(jax.vmap(made.init))(keys)
  scores = code_report.arm(arm, splits, variables, tmp_path)
  rows = scores.pop("probes")
  assert set(scores) == {
    f"{what} in {segment}"
    for what in ("class", "domain")
    for segment in ("g_y", "g_d")
  }
  assert list(rows) == ["g_y", "g_d"]
  assert tuple(rows["g_d"]) == probes.COLUMNS
  assert rows["g_d"]["Acc/C-T"] == scores["class in g_d"]
  sides = np.add(rows["g_d"]["Acc/D-S"], rows["g_d"]["Acc/D-T"]) / 2
  np.testing.assert_array_equal(scores["domain in g_d"], sides)
  for values in scores.values():
    assert len(values) == 2
    assert all(0 <= value <= 1 for value in values)
  for name in ("probes.json", "traversal.png", "swap.png"):
    assert (tmp_path / name).stat().st_size
  code_report.show_details({"noise": scores | {"probes": rows}})
  shown = capsys.readouterr().out.splitlines()
  assert shown[1].split() == ["arm", "segment", *probes.COLUMNS]
  assert [line.split()[:2] for line in shown[3:]] == [
    ["noise", "g_y"],
    ["noise", "g_d"],
  ]


@pytest.mark.slow
def test_scores_of_known_factors(tmp_path, capsys):
  pytest.importorskip("sklearn")
  pytest.importorskip("matplotlib")
  arm = _arm()
  factors = np.stack(np.divmod(np.arange(64) % 6, 2), axis=1)
  made_by = data.Factors(("three", "two"), (3, 2))
  splits = data.Splits(
    _windows(32, 0, factors[:32]),
    None,
    _windows(64, 1, factors),
    data.Info("noise", "the test", "none", factors=made_by),
  )
  made = problem.Problem(arm, splits, 1)
  variables = jax.jit(jax.vmap(made.init))(jax.random.split(jax.random.key(0)))
  scores = code_report.arm(
    arm, splits, variables, tmp_path, trees=2, votes=40, draw=False
  )
  names = set(_pictures.METRICS) - {"sap_continuous", "dci_disentanglement"}
  assert set(scores) == names
  assert all(len(values) == 2 for values in scores.values())
  vae = problem.make_model(arm, splits)
  model_variables = jax.tree.map(lambda x: x[1], variables["params"]["model"])
  codes, _ = vae.apply(
    {"params": model_variables}, splits.test.inputs, method="encode"
  )
  codes = np.asarray(codes, np.float64)
  # float32 codes, of which bins and votes are made.
  for name, expected in (
    ("mig", metrics.mig(codes, factors)),
    ("irs", metrics.irs(codes, factors).score),
  ):
    assert scores[name][1] == pytest.approx(expected, abs=1e-3), name
  assert scores["mig"][0] != scores["mig"][1]
  for name in ("noise", "again"):
    row = {"step": 1, "mi": [1.0], "tc": [0.1], "dwkl": [0.1]}
    (tmp_path / name).mkdir()
    (tmp_path / name / "metrics.jsonl").write_text(json.dumps(row) + "\n")
  results = dict.fromkeys(("noise", "again"), scores)
  code_report.comparison(tmp_path, results)
  for name in ("information.png", "metrics.png"):
    assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
  code_report.show_details(results)
  shown = capsys.readouterr().out.splitlines()
  assert set(shown[1].split()) == {"arm"} | names
  assert [line.split()[0] for line in shown[3:]] == ["noise", "again"]
