"""Unusual rows, found by an ensemble of autoencoders."""
