"""Disentangled time series: sequence VAEs whose latents keep information.

Li et al., "Towards Learning Disentangled Representations for Time Series", KDD
2022, arXiv:2105.08179, and the objectives it is compared with as settings of
one weighted form. Pure functions of arrays:

    estimators     log q(z) from a batch; mutual information, total correlation
    divergences    analytic KL, maximum mean discrepancy, DIP-VAE's penalties
    density_ratio  the total correlation by a discriminator (FactorVAE)
    objective      the regulariser of every method
    methods        its options, and what its terms weigh
    schedules      annealing, and the strength of the reversal
    reversal       gradient reversal
    groups         what makes a class segment differ from a domain segment
    batches        means and sums over masked and sharded batches

Models, with any mixer of the package as backbone, and their training:

    encoders       from a series to mean and log-variance, in both directions
    decoders       from a code to a series, autoregressive or not
    model          both together, the likelihood, and generation
    aggressive     updates of the encoder ahead of the decoder's
    adaptation     classifiers on two segments
    problem        all of it as a problem for `jaxseq.training`

What comes of it:

    evaluation     likelihood, information and use of the code on test windows
    metrics        how disentangled any representation is; needs arrays only
    probes         what segments of a code know
    diagnostics    anomaly scores, the effect of a coordinate
    forecasts      the second half of a window from the code of the first
    downstream     classes, forecasts and anomalies from codes
    pictures       curves, heat maps, traversals
    report         all of these for a trained model

A latent is (batch, D), and q(z | x) is a Gaussian with mean `mu` and log
variance `logvar`, both (batch, D); the prior is standard normal. All
information is in nats.
"""
