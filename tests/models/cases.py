"""A small model of each kind, untrained, with its problem and raw data."""

import dataclasses
import functools
import pathlib
import tempfile
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.masked_language import pairs
from experiments.masked_language import rna
from experiments.pointing import answers as pointed_sets
from experiments.pointing import pointer
from experiments.pointing import program as pointing
from jaxseq import data
from jaxseq import models
from jaxseq import nn
from jaxseq.dts import autoencoder
from jaxseq.dts import problem as dts_problem
from jaxseq.dts import series_encoders
from jaxseq.nn import multiscale
from jaxseq.nn import picture_codec
from jaxseq.tasks import base
from jaxseq.tasks import classification
from jaxseq.tasks import events
from jaxseq.tasks import forecasting
from jaxseq.tasks import language
from jaxseq.tasks import masked_language
from jaxseq.tasks import next_element
from jaxseq.tasks import pictures
from jaxseq.tasks import recommendation
from jaxseq.tasks import regression
from jaxseq.tasks import segmentation
from jaxseq.tasks import temporal_graph
from jaxseq.tasks.events import arms as event_arms
from jaxseq.tasks.pictures import picture_codes
from jaxseq.tasks.recommendation import arms as recommendation_arms
from jaxseq.tasks.temporal_graph import network as graph_network

INFO = functools.partial(data.Info, "what", "from where", "none")


class Case(NamedTuple):
  """A model and where it comes from.

  Attributes:
    model: the model.
    problem: what it would be trained by.
    splits: the data.
    variables: of the problem.
  """

  model: models.Model
  problem: Any
  splits: data.Splits
  variables: Any


def network(pooling="none", mixer="gru", bidirectional=False, **options):
  stack = nn.StackConfig(
    mixer, options, d_model=8, num_layers=1, bidirectional=bidirectional
  )
  return nn.NetworkConfig(stack, pooling=pooling)


def splits_of(make, info):
  return data.Splits(
    *(make(np.random.default_rng(i), 6) for i in range(3)), info
  )


def _case(kind, problem, splits, select=lambda variables: variables):
  @jax.jit
  def init(key):
    # Biases are zeros at first, and would hide what is lost.
    return jax.tree.map(
      lambda x: (
        x + 0.05 * jnp.cos(jnp.arange(x.size).reshape(x.shape))
        if jnp.issubdtype(x.dtype, jnp.inexact)
        else x
      ),
      problem.init(key),
    )

  variables = init(jax.random.key(0))
  about = {"arm": "gru", "seed": 0}
  model = models.make(kind, problem.network, select(variables), splits, about)
  return Case(model, problem, splits, variables)


def _series(rng, count, time=7, channels=2):
  return rng.normal(size=(count, time, channels)).astype(np.float32)


def classes(lengths=True, mixer="gru", **options):
  def make(rng, count):
    return data.ArrayDataset(
      _series(rng, count),
      rng.integers(0, 3, count).astype(np.int32),
      rng.integers(3, 8, count).astype(np.int32) if lengths else None,
    )

  prepared = data.sources.SeriesSource(
    channels=("x", "y"), classes=("a", "b", "c"), length=7
  )
  info = INFO(num_classes=3, classes=("a", "b", "c"), preparation=prepared)
  splits = splits_of(make, info)
  arm = base.ArmConfig(network("mean", mixer, **options), batch_size=4)
  return _case("classification", classification.Problem(arm, splits), splits)


def numbers():
  def make(rng, count):
    gaps = rng.uniform(0.5, 2, (count, 7)).astype(np.float32)
    return data.ArrayDataset(
      _series(rng, count),
      _series(rng, count, 7, 1),
      None,
      data.Extras(gaps=gaps),
    )

  prepared = data.sources.SeriesSource(
    targets=("level",), target_mean=(3.0,), target_deviation=(2.0,)
  )
  splits = splits_of(make, INFO(preparation=prepared))
  arm = regression.ArmConfig(network(), batch_size=4)
  return _case("regression", regression.Problem(arm, splits), splits)


def forecasts(channels="mixed", season=None, **options):
  splits = data.load(
    "seasonal", times=120, channels=2, input_length=8, horizon=3
  )
  # The map of a season has a row for each time of the window.
  fields = {"period": season, "from_season": season is not None}
  arm = forecasting.ArmConfig(
    network("last", **options), batch_size=4, channels=channels, **fields
  )
  problem = forecasting.Problem(arm, forecasting.spans(splits))
  return _case("forecasting", problem, splits)


def panel(channels="independent", **options):
  days = np.datetime64("2024-01-01") + np.arange(60)
  lines = [
    f"{day},{shop},{i % 7 * (1 + k)},{i % 3},{'h' * (i % 2)}"
    for k, shop in enumerate("AB")
    for i, day in enumerate(days)
  ]
  sizes = {"input_length": 8, "horizon": 3}
  columns = {"time": "day", "series": "shop", "known": "price,holiday"}
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, "sales.csv")
    path.write_text("\n".join(["day,shop,sales,price,holiday", *lines]))
    splits = data.load("forecast_table", path=path, **columns, **sizes)
  arm = forecasting.ArmConfig(
    network("last", **options), batch_size=4, channels=channels
  )
  problem = forecasting.Problem(arm, forecasting.spans(splits))
  return _case("forecasting", problem, splits)


def texts():
  content = bytes(range(97, 123)) * 12
  parts = data.text.split_tokens(content, 0.2, 0.2)
  info = INFO(
    num_classes=256,
    vocab_size=256,
    preparation=data.sources.TextSource(vocab_size=256),
  )
  splits = data.Splits(*parts, info)
  problem = language.Problem(
    base.ArmConfig(network(), batch_size=2),
    language.from_splits(splits),
    length=4,
  )
  return _case("language", problem, splits)


def marks():
  splits = data.load("hawkes", train=6, valid=3, test=5, horizon=5.0)
  arm = event_arms.ArmConfig(network(), batch_size=4, components=3)
  return _case("events", events.Problem(arm, splits), splits)


def histories(**options):
  splits = data.load("item_chains", users=8, items=14, events=6)
  if "items" in options:
    texts = tuple(f"film {n} kind {n % 4} of {n % 3}" for n in range(14))
    source = dataclasses.replace(splits.info.preparation, texts=texts)
    splits = splits._replace(
      info=dataclasses.replace(splits.info, preparation=source)
    )
  mixer = "attention" if options.get("items") == "sentences" else "gru"
  arm = recommendation_arms.ArmConfig(
    network(mixer=mixer), batch_size=4, **options
  )
  problem = recommendation.make(arm, splits)
  kind = getattr(problem, "kind", "recommendation")
  return _case(kind, problem, splits)


@functools.cache
def items_by(what):
  """The case of items by "text", "semantic" codes or "sentences"."""
  return histories(items=what, levels=2, codes=8)


def sequences(kind="masked_language"):
  splits = rna.load(examples=16, length=28, seed=3)
  arm = pairs.ArmConfig(
    network(bidirectional=True),
    batch_size=4,
    pair_width=4,
    pair_channels=2,
    pair_blocks=1,
  )
  problem = pairs.Problem if kind == "pairs" else masked_language.Problem
  return _case(kind, problem(arm, splits), splits)


def chapters():
  source = data.sources.paragraphs.ParagraphSource(buckets=32, words=4)
  rng = np.random.default_rng(0)
  books = [
    [[f"a{rng.integers(40)} b" for _ in range(size)] for size in sizes]
    for sizes in rng.integers(1, 4, (18, 3))
  ]
  parts = data.datasets.consecutive(source.examples(books), (6, 6, 6))
  info = INFO(num_classes=2, preparation=source)
  splits = data.Splits(*parts, info)
  arm = segmentation.ArmConfig(network(), batch_size=4)
  return _case("segmentation", segmentation.Problem(arm, splits), splits)


def log():
  splits = data.load("loans", cases=30)
  arm = base.ArmConfig(network(), batch_size=4)
  return _case("next_element", next_element.Problem(arm, splits), splits)


def structures():
  return sequences("pairs")


def windows():
  def make(rng, count):
    return data.ArrayDataset(
      _series(rng, count), rng.integers(0, 2, count).astype(np.int32)
    )

  splits = splits_of(make, INFO(num_classes=2, classes=("a", "b")))
  stack = nn.StackConfig("gru", d_model=6, num_layers=1)
  encoder = series_encoders.EncoderConfig(stack=stack)
  config = autoencoder.ModelConfig(encoder=encoder, latent=3)
  arm = dts_problem.ArmConfig(config, batch_size=4)
  problem = dts_problem.Problem(arm, splits, 10)

  def select(variables):
    return {"params": variables["params"]["model"]}

  return _case("codes", problem, splits, select)


def drawings(objective="codes"):
  def make(rng, count):
    return data.ArrayDataset(
      rng.uniform(size=(count, 4, 4)).astype(np.float32),
      rng.integers(0, 3, count).astype(np.int32),
    )

  splits = splits_of(make, INFO(num_classes=3))
  scales = multiscale.ScalesConfig((1, 2), width=3, codes=5)
  arm = picture_codes.ArmConfig(
    network(),
    batch_size=4,
    codec=picture_codec.CodecConfig(scales, 2, 4, blocks=0),
  )
  problem = picture_codes.Problem(arm, splits)
  if objective == "codes":
    return _case("picture_codes", problem, splits)
  codec = pictures.Codec(arm.codec, jax.jit(problem.init)(jax.random.key(1)))
  return _case("pictures", pictures.Problem(arm, splits, codec), splits)


def graph():
  splits = data.load("followers", pairs=4, repeats=1)
  arm = temporal_graph.ArmConfig(
    network(),
    batch_size=4,
    graph=graph_network.Options(embedding="sum", neighbors=2, vectors=True),
  )
  problem = temporal_graph.Problem(arm, splits)
  return _case("temporal_graph", problem, splits)


def points(reads="ordered"):
  config = pointing.Config(
    task="sort" if reads == "sets" else "hull",
    task_options={"low": 3, "high": 5},
    train_sets=12,
    test_sets=12,
    arms={"one": {}},
  )
  stack = dataclasses.replace(pointer.LSTM, d_model=8)
  arm = pointing.ArmConfig(
    nn.NetworkConfig(stack), reads=reads, steps=1, batch_size=4
  )
  problem = pointing.Problem(arm, config)
  splits = pointed_sets.splits_of(problem.data["test"])
  return _case(problem.kind, problem, splits)


CASES = {
  "classification": classes,
  "regression": numbers,
  "forecasting": forecasts,
  "seasonal": lambda: forecasts(season=2),
  "panel": panel,
  "language": texts,
  "masked_language": sequences,
  "pairs": structures,
  "next_element": log,
  "segmentation": chapters,
  "events": marks,
  "recommendation": histories,
  "codes": windows,
  "picture_codes": drawings,
  "pictures": lambda: drawings("pictures"),
  "temporal_graph": graph,
  "pointing": points,
  "set_pointing": lambda: points("sets"),
  "semantic_ids": lambda: items_by("semantic"),
  "item_sentences": lambda: items_by("sentences"),
}


@functools.cache
def case(name):
  """The case of a kind, made once."""
  return CASES[name]()
