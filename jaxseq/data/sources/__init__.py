"""Kinds of data: conversion of the raw data of each to network inputs.

    splits = data.load("table", path="train.csv", label="label")
    source = splits.info.preparation
    examples = source.read("later.csv")
    dataset = source.prepare([values_of_one, values_of_another])

A kind is one file: a frozen class that holds properties of the training data,
reads other files of the same format, and prepares raw arrays as in training. A
further kind is registered under its name,
`sources.KINDS.register("name", "module:Class")`.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.data.sources import base as base
  from jaxseq.data.sources import events as events
  from jaxseq.data.sources import graphs as graphs
  from jaxseq.data.sources import images as images
  from jaxseq.data.sources import interactions as interactions
  from jaxseq.data.sources import letters as letters
  from jaxseq.data.sources import logs as logs
  from jaxseq.data.sources import panels as panels
  from jaxseq.data.sources import paragraphs as paragraphs
  from jaxseq.data.sources import registry as registry
  from jaxseq.data.sources import series as series
  from jaxseq.data.sources import text as text
  from jaxseq.data.sources import tokens as tokens
  from jaxseq.data.sources import windows as windows
  from jaxseq.data.sources.base import Examples as Examples
  from jaxseq.data.sources.base import Source as Source
  from jaxseq.data.sources.events import EventSource as EventSource
  from jaxseq.data.sources.images import ImageSource as ImageSource
  from jaxseq.data.sources.panels import PanelSource as PanelSource
  from jaxseq.data.sources.registry import KINDS as KINDS
  from jaxseq.data.sources.registry import derive as derive
  from jaxseq.data.sources.registry import from_json as from_json
  from jaxseq.data.sources.series import SeriesSource as SeriesSource
  from jaxseq.data.sources.text import TextSource as TextSource
  from jaxseq.data.sources.tokens import TokenSource as TokenSource
  from jaxseq.data.sources.windows import WindowSource as WindowSource
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
