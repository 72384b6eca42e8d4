"""Flax layers around the mixers: layers, stacks and heads.

The mixers themselves are pure functions and work without these layers.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.nn import bidirectional as bidirectional
  from jaxseq.nn import channel_mix as channel_mix
  from jaxseq.nn import convolutions as convolutions
  from jaxseq.nn import dense as dense
  from jaxseq.nn import distributions as distributions
  from jaxseq.nn import experts as experts
  from jaxseq.nn import feedforward as feedforward
  from jaxseq.nn import for_equinox as for_equinox
  from jaxseq.nn import for_nnx as for_nnx
  from jaxseq.nn import gtrxl_gate as gtrxl_gate
  from jaxseq.nn import heads as heads
  from jaxseq.nn import layer as layer
  from jaxseq.nn import layer_config as layer_config
  from jaxseq.nn import masks as masks
  from jaxseq.nn import mixer as mixer
  from jaxseq.nn import multiscale as multiscale
  from jaxseq.nn import network as network
  from jaxseq.nn import picture_codec as picture_codec
  from jaxseq.nn import picture_network as picture_network
  from jaxseq.nn import quantizer as quantizer
  from jaxseq.nn import recurrent as recurrent
  from jaxseq.nn import recurrent_core as recurrent_core
  from jaxseq.nn import sequence_model as sequence_model
  from jaxseq.nn import series_summaries as series_summaries
  from jaxseq.nn import stack as stack
  from jaxseq.nn import zamba_block as zamba_block
  from jaxseq.nn.bidirectional import Bidirectional as Bidirectional
  from jaxseq.nn.distributions import Categorical as Categorical
  from jaxseq.nn.distributions import DiagonalGaussian as DiagonalGaussian
  from jaxseq.nn.distributions import SquashedGaussian as SquashedGaussian
  from jaxseq.nn.feedforward import FeedForward as FeedForward
  from jaxseq.nn.heads import MLP as MLP
  from jaxseq.nn.heads import CategoricalHead as CategoricalHead
  from jaxseq.nn.heads import ClassificationHead as ClassificationHead
  from jaxseq.nn.heads import GaussianHead as GaussianHead
  from jaxseq.nn.heads import Head as Head
  from jaxseq.nn.heads import RegressionHead as RegressionHead
  from jaxseq.nn.heads import SquashedGaussianHead as SquashedGaussianHead
  from jaxseq.nn.heads import TiedHead as TiedHead
  from jaxseq.nn.heads import ValueHead as ValueHead
  from jaxseq.nn.layer import SequenceLayer as SequenceLayer
  from jaxseq.nn.layer_config import LayerConfig as LayerConfig
  from jaxseq.nn.mixer import SequenceMixer as SequenceMixer
  from jaxseq.nn.network import NetworkConfig as NetworkConfig
  from jaxseq.nn.network import SequenceNetwork as SequenceNetwork
  from jaxseq.nn.recurrent_core import RecurrentCore as RecurrentCore
  from jaxseq.nn.sequence_model import SequenceModel as SequenceModel
  from jaxseq.nn.stack import StackConfig as StackConfig
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
