"""Measures of a fitted model: the lower bound, log p(x), and the gap between them."""
