"""Densities, and the one source of noise."""
