"""Peers in torch: cuDNN's LSTM and GRU, attention, and Triton kernels.

Their interfaces are those of torch 2.11, fla-core 0.6.0, accelerated-scan
0.3.1, mlstm-kernels 2.0.6 and mamba_ssm/ops/triton of state-spaces/mamba.
"""

import functools

import torch

from benchmarks.accelerators import arrays
from benchmarks.accelerators import measuring
from benchmarks.accelerators import problems
from benchmarks.accelerators.peers_jax import Call
from benchmarks.accelerators.peers_jax import Peer


def prepare(peer: Peer, problem: problems.Problem, platform: str) -> Call:
  """Returns what a peer runs for a problem."""
  device = "cuda" if platform == "gpu" else "cpu"
  # As jax has it on GPUs; here the default is float32.
  torch.backends.cuda.matmul.allow_tf32 = True
  torch.backends.cudnn.allow_tf32 = True
  drawn = arrays.drawn(problem.arrays)
  given = {
    name: torch.from_numpy(x).to(
      device, getattr(torch, problem.arrays[name].dtype)
    )
    for name, x in drawn.items()
  }
  call = peer.call(given, dict(problem.sizes), platform)
  inputs = tuple(x.contiguous().requires_grad_() for x in call.inputs)
  return call._replace(inputs=inputs)


def timed(call: Call, kind: str) -> measuring.Timing:
  """Times a call, as `problems.Problem.function` does ours."""

  def forward(*inputs):
    with torch.no_grad():
      return call.run(*inputs)

  def gradient(*inputs):
    loss = call.run(*inputs).float().square().sum()
    return torch.autograd.grad(loss, inputs)

  def wait(_):
    if call.inputs[0].is_cuda:
      torch.cuda.synchronize()

  function = {"forward": forward, "gradient": gradient}[kind]
  return measuring.timed(function, [call.inputs], wait=wait)


def _numpy(y):
  return y.detach().float().cpu().numpy()


def _rnn(given, sizes, platform, *, make, order):
  """A network of torch with our weights; `order` is that of its gates in R."""
  width = sizes["H"]
  network = make(width, width).to(given["x"].device, given["x"].dtype)
  W = given["W"].permute(1, 2, 0).reshape(-1, width)
  R = given["R"][0].permute(1, 2, 0)[list(order)].reshape(-1, width)
  values = W, R, given["b"].reshape(-1), torch.zeros_like(given["b"].view(-1))
  with torch.no_grad():
    for parameter, value in zip(network.parameters(), values):
      parameter.copy_(value)
  # The weights' gradients are computed too, as those of the inputs are.
  weights = tuple(network.parameters())

  def run(x, *weights):
    return network(x)[0]

  def output(y):
    return _numpy(y)[:, None]

  return Call((given["x"], *weights), run, output)


def _attention(given, sizes, platform, *, whole):
  q, k, v = (given[name].transpose(1, 2) for name in "qkv")
  length, mask = sizes["T"], None
  if not whole:
    index = torch.arange(length, device=q.device)
    past = index[:, None] - index
    mask = (past >= 0) & (past <= sizes["window"])

  def run(q, k, v):
    return torch.nn.functional.scaled_dot_product_attention(
      q, k, v, attn_mask=mask, is_causal=whole
    )

  return Call((q, k, v), run, lambda y: _numpy(y.transpose(1, 2)))


def _first(function, **options):
  """A function whose first result is its outputs."""
  return lambda *inputs: function(*inputs, **options)[0]


def _fla_ssd(given, sizes, platform):
  from fla.ops.simple_gla import chunk_simple_gla

  q, k = (given[name].expand(-1, -1, sizes["H"], -1) for name in "qk")
  inputs = q, k, given["v"], given["decay"][..., 0]
  return Call(inputs, _first(chunk_simple_gla, scale=1.0), _numpy)


def _fla_gla(given, sizes, platform):
  from fla.ops.gla import chunk_gla

  inputs = tuple(given[name] for name in ("q", "k", "v", "decay"))
  return Call(inputs, _first(chunk_gla, scale=1.0), _numpy)


def _fla_lightnet(given, sizes, platform):
  from fla.ops.lightnet import chunk_lightnet

  heads = (given[name][:, :, None] for name in ("q", "logits", "v"))
  return Call(tuple(heads), _first(chunk_lightnet, scale=1.0), _numpy)


def _fla_linear(given, sizes, platform):
  from fla.ops.hgrn import chunk_hgrn

  inputs = given["b"], given["a"].log()
  return Call(inputs, _first(chunk_hgrn), _numpy)


def _mamba_ssd(given, sizes, platform):
  from mamba_ssm.ops.triton import ssd_combined

  dt = -given["decay"][..., 0]
  A = -torch.ones(sizes["H"], device=dt.device)
  x = (given["v"].float() / dt[..., None]).to(given["v"].dtype)
  segments = given["reset"].cumsum(1).int()

  def run(x, dt, B, C):
    return ssd_combined.mamba_chunk_scan_combined(
      x, dt, A, B, C, chunk_size=256, seq_idx=segments
    )

  return Call((x, dt, given["k"], given["q"]), run, _numpy)


def _accelerated_scan(given, sizes, platform):
  from accelerated_scan import scalar

  inputs = tuple(given[name].transpose(1, 2) for name in "ab")
  return Call(inputs, scalar.scan, lambda y: _numpy(y.transpose(1, 2)))


def _mlstm(given, sizes, platform):
  from mlstm_kernels.torch import get_mlstm_kernel

  kernel = get_mlstm_kernel("chunkwise--triton_xl_chunk_siging")
  q, k, v = (given[name].transpose(1, 2) for name in "qkv")
  gates = given["decay"][..., 0].transpose(1, 2)
  options = {"chunk_size": 128, "autocast_kernel_dtype": torch.bfloat16}
  run = functools.partial(kernel, **options)
  return Call((q, k, v, gates, gates.clone()), run, _numpy)


PEERS = (
  Peer(
    "torch LSTM",
    "lstm",
    (),
    functools.partial(_rnn, make=torch.nn.LSTM, order=(0, 1, 2, 3)),
    remark="no resets",
  ),
  Peer(
    "torch GRU",
    "gru",
    (),
    # Ours has the candidate's gate first in R.
    functools.partial(_rnn, make=torch.nn.GRU, order=(1, 2, 0)),
    remark="no resets",
  ),
  Peer(
    "torch SDPA",
    "window",
    (),
    functools.partial(_attention, whole=False),
    remark="no resets, a mask of all pairs",
  ),
  Peer(
    "torch SDPA causal",
    "window",
    (),
    functools.partial(_attention, whole=True),
    same=False,
    remark="sees all earlier elements",
  ),
  Peer("fla", "ssd", ("fla.ops.simple_gla",), _fla_ssd, remark="no resets"),
  Peer("fla", "gla", ("fla.ops.gla",), _fla_gla, remark="no resets"),
  Peer(
    "fla",
    "lightnet",
    ("fla.ops.lightnet",),
    _fla_lightnet,
    same=False,
    remark="no resets, no factors of keys",
  ),
  Peer(
    "fla hgrn", "linear", ("fla.ops.hgrn",), _fla_linear, remark="no resets"
  ),
  Peer(
    "mamba_ssm Triton",
    "ssd",
    ("mamba_ssm.ops.triton.ssd_combined",),
    _mamba_ssd,
    resets=True,
  ),
  Peer(
    "accelerated-scan",
    "linear",
    ("accelerated_scan.scalar",),
    _accelerated_scan,
    remark="no resets, time last",
  ),
  Peer(
    "mlstm-kernels",
    "gla",
    ("mlstm_kernels.torch",),
    _mlstm,
    same=False,
    remark="mLSTM with sigmoid gates, one decay a head",
  ),
)
