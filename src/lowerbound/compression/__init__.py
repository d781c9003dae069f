"""Lossless files: a fitted model as a compressor, whose bytes are its log p(x)."""
