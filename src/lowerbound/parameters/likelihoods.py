"""The likelihoods by name: the one table, which says where each is. Importing it loads no torch."""

from __future__ import annotations

# the user's word: the file of distributions/likelihoods that has its KIND; "auto" takes the first that suits the data
LIKELIHOODS = {
    "bernoulli": "bernoulli",
    "categorical": "categorical",
    "discretized_logistic": "discretized_logistic",
    "gaussian": "normal",
}
