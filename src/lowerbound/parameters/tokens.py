"""The tokens that texts are made of, as a parameter. Importing it loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from lowerbound.parameters.parameter import Part, option


@dataclass(frozen=True, repr=False)
class BPE(Part):
    """Byte-level byte-pair encoding: frequent pairs of tokens become one; needs ``pip install 'lowerbound[text]'``.

    Sennrich et al., 2016, arXiv:1508.07909; on bytes, Radford et al., 2019. Every text is encoded, and comes back as it
    was.

    Parameters
    ----------
    n_tokens : int
        Tokens in all, the 256 bytes included, unless the text has no further pairs.
    """

    kind = "bpe"
    n_tokens: int = option(1000, "tokens, the 256 bytes included", (), int, 257)
