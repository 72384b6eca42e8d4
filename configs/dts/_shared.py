"""Shared parts of the configs of disentangled time series."""

from jaxseq.programs import dts as program
from jaxseq.training import configuration


def of(method: str, **options: object) -> dict[str, dict]:
  """Returns an arm of a method, with options of its objective."""
  return {"objective": {"method": method, **options}}


def dts(beta: float, alpha: float, **options: object) -> dict[str, dict]:
  """Returns an arm of DTS; its dimension-wise KL has weight 1, as in a VAE."""
  return of("dts", **{"beta": beta, "alpha": alpha, "w_dw": 1.0, **options})


# Arms of the comparisons; weights as in `jaxseq.dts.methods`.
ARMS = {
  "vae": of("vae"),
  "beta_vae_4": of("beta_vae", beta=4.0),
  "beta_vae_10": of("beta_vae", beta=10.0),
  "beta_tcvae_4": of("beta_tcvae", beta=4.0),
  "beta_tcvae_10": of("beta_tcvae", beta=10.0),
  # Ten times the published rate, in a hundredth of the updates: with less the
  # discriminator sees no total correlation worth a penalty.
  "factor_vae": {
    **of("factor_vae", gamma=10.0),
    "discriminator_learning_rate": 1e-3,
  },
  "info_vae": of("info_vae", alpha=0.5, lam=10.0, kl_marg="mmd"),
  "annealed_vae": of("annealed_vae", capacity=20.0),
  "dip_vae_i": of("dip_vae_i"),
  "dip_vae_ii": of("dip_vae_ii"),
  "dts_light": of("dts", beta=1.0, alpha=0.5),
  "dts_4": of("dts", beta=4.0, alpha=3.5),
  "dts_10": of("dts", beta=10.0, alpha=9.5),
  # The dimension-wise KL has the same weight as in a VAE.
  "dts_10_dw": dts(10.0, 9.5),
}


def arms(*names: str) -> dict[str, dict]:
  """Returns the arms of these names."""
  return {name: ARMS[name] for name in names}


def mixer(name: str, num_layers: int = 1) -> dict[str, object]:
  """Returns the stack of a backbone with this mixer."""
  return {
    "mixer": name,
    "d_model": 32,
    "num_layers": num_layers,
    "norm": "layer",
    "activation": "half_glu2",
    "residual": True,
  }


def autoregressive(layers: int) -> dict[str, object]:
  """Returns an autoregressive decoder of convolutions."""
  widths = {"widths": (32,) * layers, "skip_z": True}
  return {"form": "ar", "kind": "conv", **widths}


def base(data: str, **changes: object) -> program.Config:
  """Returns a comparison on series with known factors.

  Convolutions encode, and dense layers decode all time steps at once: no code
  collapses, and the meanings of the coordinates are compared.

  Args:
    data: name of the data set.
    **changes: fields with other values.
  """
  config = program.Config(
    data=data,
    num_seeds=3,
    num_updates=4000,
    updates_per_chunk=250,
    chunks_per_evaluation=4,
    model={
      "latent": 10,
      "encoder": {"kind": "conv", "widths": (32, 64, 64)},
      "decoder": {"kind": "mlp", "widths": (256, 256)},
    },
    objective={"anneal": "none"},
    optimizer={"learning_rate": 1e-3},
    arms=ARMS,
  )
  return configuration.updated(config, **changes)


def tiny(config: program.Config, **changes: object) -> program.Config:
  """Shrinks a comparison to a test run of seconds."""
  small = configuration.updated(
    config,
    num_seeds=1,
    num_updates=4,
    batch_size=8,
    evaluated=64,
    updates_per_chunk=2,
    chunks_per_evaluation=1,
    arms=arms("vae", "dts_light"),
  )
  return configuration.updated(small, **changes)


def tiny_series(config: program.Config) -> program.Config:
  """Shrinks a comparison on generated series, and the series."""
  sizes = {"train": 64, "valid": 8, "test": 64, "length": 16}
  return tiny(config, data_options=sizes)
