"""scikit-learn's array-API check of every estimator, for a process that started with SCIPY_ARRAY_API=1."""

from __future__ import annotations

import warnings

from sklearn.utils.estimator_checks import estimator_checks_generator

from lowerbound import (
    MLP,
    PPCA,
    RBM,
    VAE,
    Autoencoder,
    FactorAnalysis,
    Factorized,
    Gaussian,
    Mixture,
    PixelRNN,
    VAEImputer,
    VAEOutlierDetector,
)

SMALL = {"max_epochs": 2, "random_state": 0}
ESTIMATORS = (
    VAE(2, network=MLP((4,)), **SMALL),
    Autoencoder(2, network=MLP((4,)), **SMALL),
    PixelRNN(hidden_size=4, **SMALL),
    Factorized(random_state=0),
    Gaussian(random_state=0),
    Mixture(2, random_state=0),
    PPCA(2, random_state=0),
    FactorAnalysis(1, random_state=0),
    RBM(n_hidden=4, n_temperatures=20, n_chains=10, burn_in=5, binarize="mean", **SMALL),
    VAEImputer(models=("gaussian",), random_state=0),
    VAEOutlierDetector(n_steps=10, random_state=0),
)


def main() -> None:
    """Print the name of every estimator that passes."""
    warnings.simplefilter("ignore")
    for estimator in ESTIMATORS:
        asked = 0
        for one, check in estimator_checks_generator(estimator):
            if getattr(check, "func", check).__name__ == "check_array_api_input":
                check(one)
                asked += 1
        assert asked, type(estimator).__name__
        print(type(estimator).__name__)


if __name__ == "__main__":
    main()
