"""The parameters of the estimators; loads no torch."""
