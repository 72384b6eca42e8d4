"""jaxseq: resettable recurrent sequence models for JAX.

The sub-packages are imported when first used: `import jaxseq` alone imports
nothing else and touches no device.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

__version__ = "0.1.0"

if TYPE_CHECKING:
  from jaxseq import adapt as adapt
  from jaxseq import data as data
  from jaxseq import dts as dts
  from jaxseq import estimators as estimators
  from jaxseq import generation as generation
  from jaxseq import interop as interop
  from jaxseq import kernels as kernels
  from jaxseq import limits as limits
  from jaxseq import mixers as mixers
  from jaxseq import models as models
  from jaxseq import nn as nn
  from jaxseq import planner as planner
  from jaxseq import programs as programs
  from jaxseq import recurrence as recurrence
  from jaxseq import rl as rl
  from jaxseq import spr as spr
  from jaxseq import tasks as tasks
  from jaxseq import training as training
  from jaxseq import types as types
  from jaxseq import validate as validate
  from jaxseq.interop.described_file import load as load
  from jaxseq.models.model import Model as Model
  from jaxseq.models.model_file import save as save
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
