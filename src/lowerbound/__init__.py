"""Practical variational autoencoders: generate, find outliers, fill gaps, represent."""

__version__ = "0.1.0"
