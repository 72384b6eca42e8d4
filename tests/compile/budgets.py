"""Temporaries that a mixer may take, in multiples of its inputs.

Inputs are 64 MiB. What was measured with jax 0.11.2, and a third more.
"""

TEMPORARY = {
  "aaren": {
    "tpu": {"forward": 1.4, "gradient": 9.5},
    "cuda": {"forward": 3.0, "gradient": 5.5},
  },
  "attention": {
    "tpu": {"forward": 6.1, "gradient": 20.0},
    "cuda": {"forward": 9.7, "gradient": 20.0},
  },
  "elman": {
    "tpu": {"forward": 2.7, "gradient": 5.4},
    "cuda": {"forward": 1.4, "gradient": 2.8},
  },
  "gru": {
    "tpu": {"forward": 2.7, "gradient": 5.4},
    "cuda": {"forward": 1.4, "gradient": 2.9},
  },
  "lightnet": {
    "tpu": {"forward": 18.0, "gradient": 24.0},
    "cuda": {"forward": 12.0, "gradient": 27.0},
  },
  "linear_attention": {
    "tpu": {"forward": 9.4, "gradient": 17.0},
    "cuda": {"forward": 6.0, "gradient": 16.0},
  },
  "lstm": {
    "tpu": {"forward": 2.7, "gradient": 5.4},
    "cuda": {"forward": 1.4, "gradient": 3.0},
  },
  "mamba": {
    "tpu": {"forward": 18.0, "gradient": 49.0},
    "cuda": {"forward": 15.0, "gradient": 48.0},
  },
  "mamba2": {
    "tpu": {"forward": 30.0, "gradient": 77.0},
    "cuda": {"forward": 25.0, "gradient": 79.0},
  },
  "s4": {
    "tpu": {"forward": 13.0, "gradient": 33.0},
    "cuda": {"forward": 6.0, "gradient": 13.0},
  },
  "s4_fft": {
    "tpu": {"forward": 19.0, "gradient": 28.0},
    "cuda": {"forward": 6.7, "gradient": 9.7},
  },
  "s4d": {
    "tpu": {"forward": 13.0, "gradient": 33.0},
    "cuda": {"forward": 6.0, "gradient": 13.0},
  },
  "s4d_fft": {
    "tpu": {"forward": 19.0, "gradient": 27.0},
    "cuda": {"forward": 6.7, "gradient": 9.5},
  },
  "s5": {
    "tpu": {"forward": 0.1, "gradient": 4.1},
    "cuda": {"forward": 0.9, "gradient": 3.4},
  },
  "slstm": {
    "tpu": {"forward": 2.7, "gradient": 5.4},
    "cuda": {"forward": 1.4, "gradient": 3.2},
  },
}
