"""Predictions of each kind against what training's evaluation says."""

import csv
import dataclasses
import io
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.masked_language import rna
from jaxseq import data
from jaxseq import models
from jaxseq import nn
from jaxseq.dts import evaluation
from jaxseq.models import token_model
from jaxseq.tasks import events
from jaxseq.tasks import masked_language
from jaxseq.tasks.events import answers as event_answers
from jaxseq.tasks.events import gap_mixture
from jaxseq.tasks.language import task as language
from jaxseq.tasks.masked_language import tree_scores
from tests.models import cases

# float32, and sums in another order.
CLOSE = {"rtol": 2e-5, "atol": 2e-6}


def examples(case, part="test", **changes):
  """A part of the data as a file with targets would give it."""
  dataset = getattr(case.splits, part)
  ids = tuple(f"s{i}" for i in range(len(dataset.inputs)))
  return data.Examples(ids, dataset, True, **changes)


def evaluated(case):
  return jax.jit(case.problem.evaluate)(
    case.variables, jax.tree.map(jnp.asarray, case.problem.data)
  )


def from_csv(predictions):
  rows = list(csv.DictReader(io.StringIO(predictions.to_csv())))
  return {name: [row[name] for row in rows] for name in predictions}


def floats(column):
  return np.array([float(x) if x else np.nan for x in column], np.float32)


def test_classes_have_the_accuracy_of_the_evaluation():
  case = cases.case("classification")
  found = case.model.predict(examples(case))
  rows = from_csv(found)
  right = np.mean(np.array(rows["class"]) == np.array(rows["target"]))
  metrics = evaluated(case)
  assert right == pytest.approx(float(metrics["accuracy"]))
  assert rows["id"] == [f"s{i}" for i in range(6)]
  each = np.stack([floats(rows[f"probability_{c}"]) for c in "abc"], axis=1)
  np.testing.assert_array_equal(each, found.arrays["probability"])
  loss = -np.log(each[np.arange(6), case.splits.test.targets]).mean()
  np.testing.assert_allclose(loss, metrics["test_loss"], rtol=1e-5)


@pytest.mark.parametrize("kind", ["classification", "codes"])
def test_targets_that_are_unknown_stay_empty(kind):
  case = cases.case(kind)
  given = examples(case)
  targets = given.dataset.targets.copy()
  targets[2] = -1
  given = given._replace(dataset=given.dataset._replace(targets=targets))
  rows = from_csv(case.model.predict(given))
  assert [word == "" for word in rows["target"]] == (targets < 0).tolist()


def test_targets_of_documents_without_sections_stay_empty(tmp_path):
  case = cases.case("segmentation")
  given = examples(case)
  targets = given.dataset.targets.copy()
  targets[1] = -1
  given = given._replace(dataset=given.dataset._replace(targets=targets))
  found = case.model.predict(given)
  rows = from_csv(found)
  empty = [word == "" for word in rows["target"]]
  assert empty == [name == "s1" for name in rows["id"]]
  assert set(rows["target"]) == {"", "0", "1"}
  parquet = pytest.importorskip("pyarrow.parquet")
  found.write(tmp_path / "a.parquet")
  read = parquet.read_table(tmp_path / "a.parquet")["target"].to_pylist()
  assert [value is None for value in read] == empty


def test_raw_arrays_are_prepared_as_in_training():
  case = cases.case("classification")
  prepared = dataclasses.replace(
    case.model.preparation, mean=(1.0, 2.0), deviation=(2.0, 4.0)
  )
  model = dataclasses.replace(case.model, preparation=prepared)
  test = case.splits.test
  raw = [
    x[:n] * [2.0, 4.0] + [1.0, 2.0] for x, n in zip(test.inputs, test.lengths)
  ]
  found = model.predict(raw)
  np.testing.assert_allclose(
    found.arrays["probability"],
    model.predict(examples(case)).arrays["probability"],
    **CLOSE,
  )
  assert "target" not in found
  assert found["id"].tolist() == [str(i) for i in range(6)]


def test_a_frame_is_predicted_as_its_columns_are_called():
  pandas = pytest.importorskip("pandas")
  case = cases.case("classification")
  rows = case.splits.test.inputs[:2].astype(np.float64)
  wanted = case.model.predict(list(rows)).arrays["probability"]
  frames = [
    pandas.DataFrame(row, columns=["x", "y"])[["y", "x"]] for row in rows
  ]
  found = case.model.predict(frames)
  np.testing.assert_array_equal(found.arrays["probability"], wanted)
  # One whose training read a table takes the whole table, too.
  columns = data.table_layouts.Columns(id="id", time="t", channels=("x", "y"))
  source = dataclasses.replace(
    case.model.preparation, reader="table", columns=columns
  )
  model = dataclasses.replace(case.model, preparation=source)
  table = pandas.concat(
    frame.assign(id=name, t=range(len(frame)), note="a word")
    for name, frame in zip("pq", frames)
  )
  found = model.predict(table.sample(frac=1, random_state=0).sort_values("id"))
  assert found["id"].tolist() == ["p", "q"]
  np.testing.assert_array_equal(found.arrays["probability"], wanted)


def test_a_batch_changes_no_more_than_rounding():
  case = cases.case("classification")
  whole = case.model.predict(examples(case)).arrays["probability"]
  for i in range(6):
    one = case.model.predict(data.take(case.splits.test, slice(i, i + 1)))
    np.testing.assert_allclose(one.arrays["probability"][0], whole[i], **CLOSE)


@pytest.mark.slow
def test_other_shapes_than_in_training_get_one_sentence():
  case = cases.case("classification")
  with pytest.raises(ValueError, match="examples: got 0"):
    case.model.predict(data.take(case.splits.test, slice(0, 0)))
  wrong = data.ArrayDataset(np.zeros((2, 7, 3), np.float32), np.zeros(2, int))
  with pytest.raises(ValueError, match=r"inputs: got shape \(2, 7, 3\).*2\)"):
    case.model.predict(wrong)
  with pytest.raises(ValueError, match="series 0"):
    case.model.predict(np.zeros((2, 7, 3)))
  holes = np.full((1, 7, 2), np.nan)
  with pytest.raises(ValueError, match="as in its training; .* missing = 'mas"):
    case.model.predict(holes)
  case = cases.case("regression")
  wrong = data.ArrayDataset(np.zeros((2, 7, 2), np.float32), np.zeros(2, int))
  with pytest.raises(ValueError, match="gaps: got None"):
    case.model.predict(wrong)
  case = cases.case("codes")
  with pytest.raises(ValueError, match=r"inputs: got shape \(2, 8, 2\)"):
    case.model.predict(wrong._replace(inputs=np.zeros((2, 8, 2), np.float32)))
  ragged = wrong._replace(lengths=np.array([3, 7]))
  with pytest.raises(ValueError, match=r"lengths: got \[3, 7\], expected 7"):
    case.model.predict(ragged)


def test_numbers_come_in_their_own_units():
  case = cases.case("regression")
  rows = from_csv(case.model.predict(examples(case)))
  assert rows["element"][:8] == [*map(str, range(7)), "0"]
  mean, target = floats(rows["level"]), floats(rows["level_target"])
  metrics = evaluated(case)
  mse = np.mean(np.square((mean - target) / 2))
  np.testing.assert_allclose(mse, metrics["mse"], rtol=1e-5)
  z = (target - mean) / floats(rows["level_deviation"])
  nll = (0.5 * z**2 + np.log(floats(rows["level_deviation"]) / 2)).mean()
  np.testing.assert_allclose(nll, metrics["test_loss"], rtol=1e-5)
  np.testing.assert_allclose(
    target.reshape(6, 7, 1), case.splits.test.targets * 2 + 3, rtol=1e-6
  )


@pytest.mark.slow
def test_forecasts_have_the_error_of_the_evaluation():
  case = cases.case("forecasting")
  times = np.datetime64("2024-01-01", "h") + np.arange(
    3 * len(case.splits.test.inputs)
  ).reshape(-1, 3)
  found = case.model.predict(examples(case, times=times))
  error = found.arrays["forecast"] - case.splits.test.targets
  np.testing.assert_allclose(
    np.square(error).mean(), evaluated(case)["mse"], rtol=1e-5
  )
  rows = from_csv(found)
  assert rows["step"][:4] == ["1", "2", "3", "1"]
  assert rows["time"][0] == "2024-01-01T00:00:00"
  prepared = case.model.preparation
  assert list(rows)[3:] == [
    *("channel_0", "channel_1"),
    *("channel_0_lower_80%", "channel_1_lower_80%"),
    *("channel_0_upper_80%", "channel_1_upper_80%"),
    *("channel_0_target", "channel_1_target"),
  ]
  np.testing.assert_allclose(
    floats(rows["channel_1"]),
    prepared.restore(found.arrays["forecast"])[..., 1].ravel(),
    rtol=1e-6,
  )


def test_probabilities_of_a_text_are_its_bits():
  case = cases.case("language")
  content = case.splits.test.targets[0].tobytes()
  found = case.model.predict([content])
  probability = floats(from_csv(found)["probability"])[:-1]
  text = language.streams(language.from_splits(case.splits).test, 1)
  bits = language.bits_per_token(
    case.problem.network, case.variables, text, len(content)
  )
  np.testing.assert_allclose(-np.log2(probability).mean(), bits, rtol=1e-5)
  rows = from_csv(found)
  assert [int(x) for x in rows["token"][:-1]] == list(content)
  assert rows["token"][-1] == ""
  likely = found.arrays["probability"][0]
  assert int(rows["expected"][-1]) == likely.argmax()
  np.testing.assert_allclose(likely.sum(), 1, rtol=1e-5)


def test_texts_are_read_in_pieces_as_at_once(monkeypatch):
  case = cases.case("language")
  texts = [b"abcdefghijk", b"xyz", b"klmnopqrs"]
  whole = case.model.predict(texts)
  assert whole.num_rows == 12 + 4 + 10
  monkeypatch.setattr(language, "_PIECE", 4)
  monkeypatch.setattr(language, "_ELEMENTS", 2 * 4 * 256)
  pieces = case.model.predict(texts)
  for name in ("probability", "expected_probability"):
    np.testing.assert_allclose(pieces[name], whole[name], **CLOSE)
  for name in ("id", "position", "expected", "token"):
    np.testing.assert_array_equal(pieces[name], whole[name])
  np.testing.assert_allclose(
    pieces.arrays["probability"], whole.arrays["probability"], **CLOSE
  )
  # The program that is exported says the same of a text.
  outputs = case.model.outputs(case.model.examples(texts[:1]).dataset)
  np.testing.assert_allclose(
    outputs["probability"], whole.arrays["probability"][:1], **CLOSE
  )


def test_a_text_of_bytes_is_read_from_any_file(tmp_path):
  path = tmp_path / "a.txt"
  path.write_text("some text")
  model = cases.case("language").model
  found = model.predict(path)
  assert set(found["id"]) == {"a.txt"}
  np.testing.assert_array_equal(
    found["probability"], model.predict(["some text"])["probability"]
  )


def test_a_text_goes_on():
  model = cases.case("language").model
  text = token_model.continue_text(model, "abc", 5, temperature=0.0)
  assert text.startswith("abc")
  assert text == token_model.continue_text(model, "abc", 5, temperature=0.0)
  with pytest.raises(ValueError, match="model: got one of classification"):
    token_model.continue_text(cases.case("classification").model, "a", 5)


def test_codecs_are_those_of_training():
  assert token_model.codec(None).tokenizer is None
  library = pytest.importorskip("tokenizers", reason="an extra is needed")
  made = library.Tokenizer(library.models.WordLevel({"a": 0, "b": 1}, "a"))
  made.pre_tokenizer = library.pre_tokenizers.Whitespace()
  prepared = cases.case("language").model.preparation
  prepared = dataclasses.replace(prepared, tokenizer=made.to_str())
  assert token_model.codec(prepared).encode("b a b").tolist() == [0, 1, 0, 1]


@pytest.mark.slow
def test_events_have_the_scores_of_the_evaluation():
  case = cases.case("events")
  rows = from_csv(case.model.predict(examples(case)))
  metrics = evaluated(case)
  happened = np.array([x != "" for x in rows["gap"]])
  assert (~happened).sum() == 5
  right = np.array(rows["mark"]) == np.array(rows["mark_target"])
  assert right[happened].mean() == pytest.approx(float(metrics["accuracy"]))
  error = floats(rows["gap_expected"]) - floats(rows["gap"])
  np.testing.assert_allclose(
    math.sqrt(np.mean(error[happened] ** 2)), metrics["rmse"], rtol=1e-5
  )


@pytest.mark.slow
def test_quantiles_of_the_next_gap_are_where_the_mixture_says():
  model = cases.case("events").model
  found = model.outputs(cases.case("events").splits.test)
  gap = gap_mixture.Mixture(
    *(jnp.asarray(found[n]) for n in ("log_weight", "mean", "log_scale"))
  )
  for i, level in enumerate(event_answers.QUANTILES):
    survival = jnp.exp(
      gap.log_survival(jnp.asarray(found["quantiles"][..., i]))
    )
    # The steepest place of a log-normal density of deviation exp(-5) turns a
    # rounding of the gap into 1e-5 of probability.
    np.testing.assert_allclose(1 - survival, level, atol=5e-5)


def test_intensity_is_the_hazard_of_the_mixture():
  case = cases.case("events")
  elapsed = np.geomspace(0.01, 6, 2000)
  found = events.intensities(case.model, case.splits.test, elapsed)
  assert found.shape == (5, 2000)
  outputs = case.model.outputs(case.splits.test)
  rows = np.arange(5), case.splits.test.lengths
  gap = gap_mixture.Mixture(
    *(outputs[n][rows] for n in ("log_weight", "mean", "log_scale"))
  )
  # The integral of the hazard is minus the logarithm of the survival.
  ends = [
    np.asarray(gap.log_survival(jnp.full(5, t, jnp.float32)))
    for t in (elapsed[0], elapsed[-1])
  ]
  integral = np.trapezoid(found, elapsed, axis=1)
  np.testing.assert_allclose(integral, ends[0] - ends[1], rtol=2e-3)


def test_codes_are_those_of_the_evaluation():
  case = cases.case("codes")
  found = case.model.predict(examples(case))
  mu, logvar = evaluation.encode(
    case.model.network, case.model.variables, case.splits.test
  )
  np.testing.assert_allclose(found.arrays["code"], mu, **CLOSE)
  np.testing.assert_allclose(
    found.arrays["deviation"], np.exp(0.5 * logvar), **CLOSE
  )
  rows = from_csv(found)
  np.testing.assert_array_equal(floats(rows["code_2"]), found["code_2"])
  assert rows["target"] == ["ab"[x] for x in case.splits.test.targets]
  error = np.square(found.arrays["reconstruction"] - case.splits.test.inputs)
  np.testing.assert_allclose(
    floats(rows["reconstruction_error"]), error.mean(axis=(1, 2)), rtol=1e-5
  )


def test_strange_windows_score_high_whatever_is_beside_them():
  case = cases.case("codes")
  inputs = case.splits.test.inputs.copy()
  inputs[3] += 8
  strange = case.splits.test._replace(inputs=inputs)
  scores = case.model.predict(strange)["anomaly_score"]
  assert scores.argmax() == 3
  alone = case.model.predict(data.take(strange, slice(3, 4)))["anomaly_score"]
  np.testing.assert_allclose(alone[0], scores[3], rtol=1e-5)


def test_sentences_of_words_have_trees(tmp_path):
  path = tmp_path / "a.txt"
  path.write_text("The cat saw the dog.\nThe dog slept.\n" * 8)
  splits = data.load("letters", path=path, words=2)
  stack = nn.StackConfig("gru", d_model=8, num_layers=1, bidirectional=True)
  arm = masked_language.ArmConfig(
    nn.NetworkConfig(stack), batch_size=4, parser=1, parser_heads=2
  )
  problem = masked_language.Problem(arm, splits)
  variables = jax.jit(problem.init)(jax.random.key(0))
  kind = "masked_language"
  model = models.make(kind, problem.network, variables, splits)
  path.write_text("The quark saw the dog.\nDog\n")
  found = model.predict(path)
  assert found["unknown"].tolist() == [1, 0]
  first, second = found["tree"]
  assert second == "(dog)"
  words = ["the", "<unk>", "saw", "the", "dog", "."]
  assert first.replace("(", "").replace(")", "").split() == words
  dataset = model.examples(path).dataset
  parse = problem.network.apply(
    variables, dataset.inputs, dataset.lengths, method="parse"
  )
  parse = tree_scores.words_of(parse, dataset.lengths - 2)
  assert first == tree_scores.bracketed(words, parse.distance[0])
  heads = np.asarray(tree_scores.heads_of(parse))
  assert found["heads"].tolist() == [" ".join(map(str, heads[0] + 1)), "0"]
  # A network without a parser, or of letters, has none of these columns.
  plain = cases.case(kind).model.predict(["GCA"])
  assert not {"tree", "heads", "unknown"} & set(plain)
  # Masked words have rows of their own, beside the tree of the sentence.
  found = model.predict(["the <mask> saw the <mask>"])
  assert list(found)[:3] == ["id", "position", "word"]
  assert found["position"].tolist() == [1, 4]
  assert len(set(found["tree"])) == 1


def test_pairs_of_a_file_are_structures(tmp_path):
  case = cases.case("pairs")
  path = tmp_path / "a.fasta"
  # Five letters have one pair at most, three have none.
  path.write_text(f">a\n{'GCAUA' * 6}\n>b\nGAAAC\n>c\nGAC\n")
  found = case.model.predict(path)
  structures = dict(zip(found["id"], found["structure"]))
  assert list(map(len, structures.values())) == [30, 5, 3]
  for name, brackets in structures.items():
    rows = found["id"] == name
    partners = rna.partners_of(brackets)
    opened = np.flatnonzero(partners > np.arange(len(brackets)))
    if not len(opened):
      opened, partners = [-1], np.array([-1])
    np.testing.assert_array_equal(found["position"][rows], opened)
    np.testing.assert_array_equal(found["partner"][rows], partners[opened])
  assert structures["c"] == "..."
  assert from_csv(found)["probability"][-1] == ""
  # As many pairs as the evaluation counts.
  rows = case.model.predict(case.splits.test)
  counts = case.problem.counts(
    case.problem.network.apply(
      case.variables, case.splits.test.inputs, case.splits.test.lengths
    ),
    case.splits.test,
  )
  assert (rows["position"] >= 0).sum() == counts["predicted"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pointing", "set_pointing"])
def test_choices_solve_as_many_sets_as_in_the_evaluation(kind, tmp_path):
  case = cases.case(kind)
  sets = case.problem.data["test"]
  table = ["id,x,y"[: 4 + 2 * (kind == "pointing")].rstrip(",")]
  for number, (points, length) in enumerate(zip(sets.points, sets.lengths)):
    table += [
      ",".join([f"s{number}", *(repr(float(x)) for x in row)])
      for row in points[:length]
    ]
  path = tmp_path / "points.csv"
  path.write_text("\n".join(table))
  found = case.model.predict(path)
  chosen = found.arrays["chosen"]
  width = sets.chosen.shape[1]
  wanted = np.zeros_like(chosen)
  wanted[:, :width] = sets.chosen[:, : chosen.shape[1]]
  solved = np.mean((chosen == wanted).all(axis=1))
  assert solved == pytest.approx(float(evaluated(case)["solved"]))
  first = found["id"] == "s0"
  np.testing.assert_array_equal(
    found["element"][first] + 1, chosen[0][chosen[0] > 0]
  )
  np.testing.assert_array_equal(
    found["x"][first], sets.points[0, found["element"][first], 0]
  )
  # What a set is padded into changes nothing.
  alone = case.model.predict([sets.points[0, : sets.lengths[0]]])
  np.testing.assert_array_equal(alone["element"], found["element"][first])
  with pytest.raises(ValueError, match="points: got 2.0, expected numbers fro"):
    case.model.predict([2 * np.ones((3, sets.points.shape[-1]))])
  # The number is as it is in the file, beside where it is.
  table[2] = ",".join(["s0", *["1.7"] * sets.points.shape[-1]])
  path.write_text("\n".join(table))
  with pytest.raises(ValueError, match="got 1.7, .*row 2 of id 's0'"):
    case.model.predict(path)
