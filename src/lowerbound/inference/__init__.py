"""Posteriors q(z|x), the objectives that fit them, and EM."""
