"""Learned priors p(z), one file each; `parameters/priors.py` is their table."""
