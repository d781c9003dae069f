"""Uses of a fitted model, each a few lines over its prior, p(x|z) and posterior."""
