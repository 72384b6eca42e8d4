"""Mamba's mixer next to that of the transformers library, on a CPU.

  python -m benchmarks.transformers_mamba

Needs torch and transformers; `make test-interop` makes .venvs/interop, which
has them. Without its CUDA kernels that library forms the decays and inputs of
all states, (B, d_inner, T, d_state), and goes through time in a Python loop of
torch operations: a reference that runs anywhere, not what it trains with on a
GPU. Both get the same parameters and inputs, and it is checked that their
outputs and gradients of the inputs agree. "gradient" is the forward pass and
the gradient with respect to parameters and inputs. The two take turns; the best
of the runs is printed. torch compiles nothing; jaxseq's compile time is
printed.
"""

import argparse
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers
from transformers.models.mamba import modeling_mamba

from jaxseq import mixers
from jaxseq.mixers.state_space import mamba


def make_theirs(config, params):
  """A MambaMixer of the transformers library with these parameters."""
  mixer = modeling_mamba.MambaMixer(
    transformers.MambaConfig(
      hidden_size=config.d_model,
      state_size=config.d_state,
      conv_kernel=config.d_conv,
      expand=config.expand,
      num_hidden_layers=1,
    ),
    layer_idx=0,
  )
  tensors = {
    "A_log": params["A_log"],
    "D": params["D"],
    "conv1d.weight": params["conv_weight"].T[:, None],
    "conv1d.bias": params["conv_bias"],
    "dt_proj.weight": params["dt_proj"].T,
    "dt_proj.bias": params["dt_bias"],
    "in_proj.weight": params["in_proj"].T,
    "out_proj.weight": params["out_proj"].T,
    "x_proj.weight": params["x_proj"].T,
  }
  mixer.load_state_dict(
    {name: torch.tensor(np.array(value)) for name, value in tensors.items()}
  )
  return mixer.eval()


def forward_theirs(mixer, x):
  with torch.no_grad():
    return mixer(x).numpy()


def gradient_theirs(mixer, x):
  """The gradient of the sum of squares with respect to x, as an array."""
  x = x.clone().requires_grad_()
  mixer.zero_grad()
  (mixer(x) ** 2).sum().backward()
  return x.grad.numpy()


def seconds(function):
  start = time.perf_counter()
  result = function()
  return time.perf_counter() - start, result


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--rows", type=int, default=2)
  parser.add_argument("--time", type=int, default=1024)
  parser.add_argument("--d_model", type=int, default=64)
  parser.add_argument("--repeats", type=int, default=1)
  flags = parser.parse_args()
  config = mixers.make_config("mamba", d_model=flags.d_model)
  params = mamba.init(jax.random.key(0), config)
  x = jax.random.normal(
    jax.random.key(1), (flags.rows, flags.time, flags.d_model)
  )
  mixer, x_torch = make_theirs(config, params), torch.tensor(np.array(x))
  apply = functools.partial(mamba.apply, config)

  def loss(params, x):
    return jnp.sum(apply(params, x)[0] ** 2)

  print(
    f"transformers {transformers.__version__}, torch {torch.__version__}, jax "
    f"{jax.__version__}; B={flags.rows}, T={flags.time}, "
    f"d_model={flags.d_model}, float32"
  )
  for label, old, new in (
    ("forward", forward_theirs, lambda params, x: apply(params, x)[0]),
    ("gradient", gradient_theirs, jax.grad(loss, argnums=(0, 1))),
  ):
    compile_time, compiled = seconds(
      jax.jit(new).lower(params, x).compile  # Traced before the clock starts.
    )

    def run(compiled=compiled):
      return jax.block_until_ready(compiled(params, x))

    times = [
      (seconds(functools.partial(old, mixer, x_torch)), seconds(run))
      for _ in range(flags.repeats + 1)
    ]
    theirs, ours = (min(pair[side][0] for pair in times) for side in (0, 1))
    wanted, result = (times[0][side][1] for side in (0, 1))
    got = np.asarray(result if label == "forward" else result[1])
    # float32 over the whole sequence, summed in another order.
    np.testing.assert_allclose(
      got, wanted, rtol=1e-3, atol=1e-4 * np.max(np.abs(wanted))
    )
    print(
      f"{label:>8}: transformers {1e3 * theirs:.1f} ms, jaxseq "
      f"{1e3 * ours:.1f} ms, ratio {theirs / ours:.1f}; compile "
      f"{compile_time:.1f} s",
      flush=True,
    )


if __name__ == "__main__":
  main()
