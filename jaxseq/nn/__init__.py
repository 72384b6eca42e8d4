"""Flax layers around the mixers: layers, stacks of them, heads.

The mixers themselves are pure functions and need none of this.
"""

from jaxseq.nn.distributions import Categorical
from jaxseq.nn.distributions import DiagonalGaussian
from jaxseq.nn.feedforward import FeedForward
from jaxseq.nn.heads import MLP
from jaxseq.nn.heads import CategoricalHead
from jaxseq.nn.heads import ClassificationHead
from jaxseq.nn.heads import GaussianHead
from jaxseq.nn.heads import RegressionHead
from jaxseq.nn.heads import ValueHead
from jaxseq.nn.layer import SequenceLayer
from jaxseq.nn.mixer import SequenceMixer
from jaxseq.nn.model import SequenceModel
from jaxseq.nn.network import NetworkConfig
from jaxseq.nn.network import SequenceNetwork
from jaxseq.nn.stack import StackConfig

__all__ = [
  "MLP",
  "Categorical",
  "CategoricalHead",
  "ClassificationHead",
  "DiagonalGaussian",
  "FeedForward",
  "GaussianHead",
  "NetworkConfig",
  "RegressionHead",
  "SequenceLayer",
  "SequenceMixer",
  "SequenceModel",
  "SequenceNetwork",
  "StackConfig",
  "ValueHead",
]
