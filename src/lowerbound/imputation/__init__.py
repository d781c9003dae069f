"""Imputation of missing values by a stack of models."""
