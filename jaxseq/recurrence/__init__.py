"""Recurrences whose state can be reset at any time step.

Functions of arrays: no layers and no parameters. Scans take `axis`, the name of
a mesh axis over which time is split, inside `jax.shard_map`; without it they
run on one device.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.recurrence import attention as attention
  from jaxseq.recurrence import averages as averages
  from jaxseq.recurrence import convolution as convolution
  from jaxseq.recurrence import delta as delta
  from jaxseq.recurrence import gated as gated
  from jaxseq.recurrence import kernels as kernels
  from jaxseq.recurrence import linear as linear
  from jaxseq.recurrence import mlstm as mlstm
  from jaxseq.recurrence import outer as outer
  from jaxseq.recurrence import platform as platform
  from jaxseq.recurrence import reference as reference
  from jaxseq.recurrence import selective as selective
  from jaxseq.recurrence import shared as shared
  from jaxseq.recurrence import systems as systems
  from jaxseq.recurrence import trees as trees
  from jaxseq.recurrence.attention import clusters as clusters
  from jaxseq.recurrence.attention import exact_attention as exact_attention
  from jaxseq.recurrence.attention import hip as hip
  from jaxseq.recurrence.attention import path as path
  from jaxseq.recurrence.attention import window as window
  from jaxseq.recurrence.attention._schemes.layout import (
    from_zigzag as from_zigzag,
  )
  from jaxseq.recurrence.attention._schemes.layout import (
    local_positions as local_positions,
  )
  from jaxseq.recurrence.attention._schemes.layout import to_zigzag as to_zigzag
  from jaxseq.recurrence.attention._schemes.layout import (
    zigzag_order as zigzag_order,
  )
  from jaxseq.recurrence.attention.clusters import ClusterState as ClusterState
  from jaxseq.recurrence.attention.clusters import (
    cluster_attention as cluster_attention,
  )
  from jaxseq.recurrence.attention.clusters import (
    cluster_initial as cluster_initial,
  )
  from jaxseq.recurrence.attention.clusters import cluster_step as cluster_step
  from jaxseq.recurrence.attention.exact_attention import (
    softmax_attention as softmax_attention,
  )
  from jaxseq.recurrence.attention.native_sparse import (
    NativeSparse as NativeSparse,
  )
  from jaxseq.recurrence.attention.native_sparse import (
    NativeSparseState as NativeSparseState,
  )
  from jaxseq.recurrence.attention.native_sparse import (
    native_sparse_attention as native_sparse_attention,
  )
  from jaxseq.recurrence.attention.native_sparse import (
    native_sparse_initial as native_sparse_initial,
  )
  from jaxseq.recurrence.attention.native_sparse import (
    native_sparse_step as native_sparse_step,
  )
  from jaxseq.recurrence.attention.path import PathState as PathState
  from jaxseq.recurrence.attention.path import path_initial as path_initial
  from jaxseq.recurrence.attention.path import path_scan as path_scan
  from jaxseq.recurrence.attention.thin_window import ThinWindow as ThinWindow
  from jaxseq.recurrence.attention.thin_window import (
    important_channels as important_channels,
  )
  from jaxseq.recurrence.attention.thin_window import thin_window as thin_window
  from jaxseq.recurrence.attention.thin_window import (
    thin_window_attention as thin_window_attention,
  )
  from jaxseq.recurrence.attention.thin_window import (
    thin_window_step as thin_window_step,
  )
  from jaxseq.recurrence.attention.window import (
    FadingWindowState as FadingWindowState,
  )
  from jaxseq.recurrence.attention.window import WindowState as WindowState
  from jaxseq.recurrence.attention.window import (
    window_attention as window_attention,
  )
  from jaxseq.recurrence.averages import softmax as softmax
  from jaxseq.recurrence.averages import softmax_outer as softmax_outer
  from jaxseq.recurrence.averages import wkv as wkv
  from jaxseq.recurrence.averages.softmax import SoftmaxState as SoftmaxState
  from jaxseq.recurrence.averages.softmax import (
    softmax_combine as softmax_combine,
  )
  from jaxseq.recurrence.averages.softmax import (
    softmax_initial as softmax_initial,
  )
  from jaxseq.recurrence.averages.softmax import softmax_scan as softmax_scan
  from jaxseq.recurrence.averages.softmax import softmax_step as softmax_step
  from jaxseq.recurrence.averages.softmax_outer import (
    softmax_decay as softmax_decay,
  )
  from jaxseq.recurrence.averages.softmax_outer import (
    softmax_outer_initial as softmax_outer_initial,
  )
  from jaxseq.recurrence.averages.softmax_outer import (
    softmax_outer_scan as softmax_outer_scan,
  )
  from jaxseq.recurrence.averages.softmax_outer import (
    softmax_outer_step as softmax_outer_step,
  )
  from jaxseq.recurrence.averages.wkv import wkv_initial as wkv_initial
  from jaxseq.recurrence.averages.wkv import wkv_scan as wkv_scan
  from jaxseq.recurrence.averages.wkv import wkv_step as wkv_step
  from jaxseq.recurrence.convolution import (
    causal_convolution as causal_convolution,
  )
  from jaxseq.recurrence.convolution import (
    routed_convolution as routed_convolution,
  )
  from jaxseq.recurrence.convolution import shift as shift
  from jaxseq.recurrence.convolution.causal_convolution import (
    causal_conv as causal_conv,
  )
  from jaxseq.recurrence.convolution.causal_convolution import (
    causal_conv_step as causal_conv_step,
  )
  from jaxseq.recurrence.convolution.convolution import (
    fft_convolution as fft_convolution,
  )
  from jaxseq.recurrence.convolution.routed_convolution import (
    routed_conv as routed_conv,
  )
  from jaxseq.recurrence.convolution.routed_convolution import (
    routed_conv_step as routed_conv_step,
  )
  from jaxseq.recurrence.convolution.shift import token_shift as token_shift
  from jaxseq.recurrence.convolution.shift import (
    token_shift_step as token_shift_step,
  )
  from jaxseq.recurrence.delta.delta import delta_scan as delta_scan
  from jaxseq.recurrence.delta.delta import delta_scan_heads as delta_scan_heads
  from jaxseq.recurrence.delta.delta import delta_step as delta_step
  from jaxseq.recurrence.delta.delta import dplr_scan as dplr_scan
  from jaxseq.recurrence.delta.delta import dplr_step as dplr_step
  from jaxseq.recurrence.gated.gated import GatedCell as GatedCell
  from jaxseq.recurrence.gated.gated import GatedParams as GatedParams
  from jaxseq.recurrence.gated.gated import from_heads as from_heads
  from jaxseq.recurrence.gated.gated import gated_scan as gated_scan
  from jaxseq.recurrence.gated.gated import gated_step as gated_step
  from jaxseq.recurrence.gated.gated import to_heads as to_heads
  from jaxseq.recurrence.linear.linear import linear_scan as linear_scan
  from jaxseq.recurrence.linear.linear import linear_step as linear_step
  from jaxseq.recurrence.mlstm import matrix_lstm as matrix_lstm
  from jaxseq.recurrence.mlstm.matrix_lstm import MLSTMState as MLSTMState
  from jaxseq.recurrence.mlstm.matrix_lstm import mlstm_initial as mlstm_initial
  from jaxseq.recurrence.mlstm.matrix_lstm import mlstm_scan as mlstm_scan
  from jaxseq.recurrence.mlstm.matrix_lstm import (
    mlstm_scan_heads as mlstm_scan_heads,
  )
  from jaxseq.recurrence.mlstm.matrix_lstm import mlstm_step as mlstm_step
  from jaxseq.recurrence.outer.log_linear_attention import (
    LogLinearState as LogLinearState,
  )
  from jaxseq.recurrence.outer.log_linear_attention import (
    log_linear_initial as log_linear_initial,
  )
  from jaxseq.recurrence.outer.log_linear_attention import (
    log_linear_scan as log_linear_scan,
  )
  from jaxseq.recurrence.outer.log_linear_attention import (
    log_linear_step as log_linear_step,
  )
  from jaxseq.recurrence.outer.outer import outer_scan as outer_scan
  from jaxseq.recurrence.outer.outer import outer_scan_heads as outer_scan_heads
  from jaxseq.recurrence.outer.outer import outer_step as outer_step
  from jaxseq.recurrence.platform.contexts import exchanging as exchanging
  from jaxseq.recurrence.platform.contexts import guarded as guarded
  from jaxseq.recurrence.selective.selective import (
    selective_scan as selective_scan,
  )
  from jaxseq.recurrence.selective.selective import (
    selective_step as selective_step,
  )
  from jaxseq.recurrence.shared import function_chunks as function_chunks
  from jaxseq.recurrence.shared import stepwise as stepwise
  from jaxseq.recurrence.shared._contractions import dense as dense
  from jaxseq.recurrence.shared._contractions import dense_heads as dense_heads
  from jaxseq.recurrence.shared.affine import split_affine as split_affine
  from jaxseq.recurrence.shared.chunked import chunked as chunked
  from jaxseq.recurrence.shared.function_chunks import (
    forward_in_chunks as forward_in_chunks,
  )
  from jaxseq.recurrence.shared.function_chunks import in_chunks as in_chunks
  from jaxseq.recurrence.shared.low_rank import LowRank as LowRank
  from jaxseq.recurrence.shared.low_rank_rows import LowRankRows as LowRankRows
  from jaxseq.recurrence.shared.stepwise import fold as fold
  from jaxseq.recurrence.shared.weights import Weight as Weight
  from jaxseq.recurrence.systems import lti as lti
  from jaxseq.recurrence.systems import siso as siso
  from jaxseq.recurrence.systems.lti import lti_scan as lti_scan
  from jaxseq.recurrence.systems.siso import siso_kernel as siso_kernel
  from jaxseq.recurrence.systems.siso import siso_scan as siso_scan
  from jaxseq.recurrence.trees import tree as tree
  from jaxseq.recurrence.trees import tree_attention as tree_attention
  from jaxseq.recurrence.trees import tree_scans as tree_scans
  from jaxseq.recurrence.trees.tree import Tree as Tree
  from jaxseq.recurrence.trees.tree import after_node as after_node
  from jaxseq.recurrence.trees.tree import tree_fold as tree_fold
  from jaxseq.recurrence.trees.tree_attention import (
    tree_window_attention as tree_window_attention,
  )
  from jaxseq.recurrence.trees.tree_attention import (
    window_after as window_after,
  )
  from jaxseq.recurrence.trees.tree_scans import outer_after as outer_after
  from jaxseq.recurrence.trees.tree_scans import (
    tree_causal_conv as tree_causal_conv,
  )
  from jaxseq.recurrence.trees.tree_scans import (
    tree_delta_scan as tree_delta_scan,
  )
  from jaxseq.recurrence.trees.tree_scans import (
    tree_linear_scan as tree_linear_scan,
  )
  from jaxseq.recurrence.trees.tree_scans import (
    tree_outer_scan as tree_outer_scan,
  )
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
