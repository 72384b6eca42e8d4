"""Training on documents from start to end, stopped and gone on with."""

import shutil

import jax
import numpy as np
import pytest

from configs.documents import python as config_file
from experiments.documents import document_arms
from jaxseq import data
from jaxseq.tasks import base
from jaxseq.tasks import language
from jaxseq.training import configuration
from jaxseq.training import errors
from jaxseq.training import scalars
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import run

ARM = "linear_attention"


def parse(variant="tiny", **fields):
  config = config_file.get_config(variant)
  return configuration.updated(config, tensorboard=False, **fields)


@pytest.fixture(scope="module")
def corpus():
  config = parse()
  return language.from_splits(data.load(config.data, **config.data_options))


def train_or_evaluate(config, corpus, directory, mode="train"):
  made = document_arms.make_arms(config, corpus)
  act = run.train if mode == "train" else run.evaluate
  return act(config, directory, {ARM: made[ARM]})[ARM]


def rows(directory):
  return [
    {k: v for k, v in row.items() if k not in scalars.WALL_CLOCK_FIELDS}
    for row in scalars.read(directory / ARM)
  ]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_its_continuation_and_its_evaluation(corpus, tmp_path):
  whole, part = tmp_path / "whole", tmp_path / "part"
  config = parse(devices=1)
  found = train_or_evaluate(config, corpus, whole)
  expected = rows(whole)
  assert [row["step"] for row in expected] == [1, 2, 2, 3, 4, 4]
  assert expected[-1]["bits_per_token"] == found["bits_per_token"][0]
  assert 6 < found["test_bits"][0] < 12
  assert found["tokens_per_update"] == np.mean(
    [row["tokens"] for row in expected if "tokens" in row]
  )
  # As if it had been killed between its two checkpoints.
  shutil.copytree(whole, part)
  shutil.rmtree(part / ARM / "checkpoints" / "4")
  again = train_or_evaluate(config, corpus, part)
  assert rows(part) == expected
  assert again["test_bits"] == found["test_bits"]
  scored = train_or_evaluate(config, corpus, whole, "evaluate")
  assert scored["test_bits"] == found["test_bits"]
  assert scored["programs"] == found["programs"]


@pytest.mark.devices
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_other_devices_and_another_plan_go_on_with_a_run(corpus, tmp_path):
  one = parse(devices=1)
  train_or_evaluate(one, corpus, tmp_path)
  expected = rows(tmp_path)
  shutil.rmtree(tmp_path / ARM / "checkpoints" / "4")
  packed = parse(devices=8, plan={"method": "packing"})
  train_or_evaluate(packed, corpus, tmp_path)
  for row, want in zip(rows(tmp_path), expected, strict=True):
    for name in want.keys() & {"train_bits_per_token", "bits_per_token"}:
      # float32: sums in another order.
      np.testing.assert_allclose(row[name], want[name], rtol=1e-6)


def test_configs():
  for variant in ("python", "bible", "tiny"):
    config = parse(variant)
    for name in config.arms:
      arm = arms.merge(config, name, base.ArmConfig)
      base.make_optimizer(arm, config.num_updates)
  with pytest.raises(ValueError, match="got 'huge'"):
    config_file.get_config("huge")


def test_wrong_fields_get_one_sentence(corpus):
  for fields, message in (
    ({"num_seeds": 2}, "num_seeds: got 2, expected 1"),
    ({"mesh": {"data": 2}}, "mesh: got MeshConfig.*, expected none"),
    ({"plan": {"methd": "lpt"}}, "no field 'methd'.*did you mean 'method'"),
    ({"plan": {"method": "ltp"}}, "plan.method: got 'ltp'.*expected one of"),
    ({"max_length": 0}, "max_length: got 0"),
  ):
    with pytest.raises(errors.UserError, match=message):
      parse(**fields)
  count = jax.device_count()
  with pytest.raises(errors.UserError, match=f"at most the {count} that there"):
    document_arms.choose_devices(2 * count)
  with pytest.raises(errors.UserError, match="got 3, expected a power of two"):
    document_arms.choose_devices(3)
  with pytest.raises(ValueError, match="batch_size: got 1000, expected at"):
    document_arms.make_arms(parse(batch_size=1000), corpus)
