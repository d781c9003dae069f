"""Means over parts, pooled, are the means over all rows."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from lowerbound.evaluation.bound import ElboTerms, summarize
from lowerbound.evaluation.estimate import Estimate, mean_over_rows, pooled

generator = torch.Generator().manual_seed(0)
ROWS = -90 + 10 * torch.randn(1000, generator=generator, dtype=torch.float64)
PARTS = [(0, 1000), (0, 1, 2, 1000), (0, 300, 999, 1000)]


@pytest.mark.parametrize("bounds", PARTS)
def test_estimates(bounds):
    parts = [ROWS[a:b] for a, b in pairwise(bounds)]
    found = pooled([mean_over_rows(part, "lower", 5, float(part.mean())) for part in parts])
    whole = mean_over_rows(ROWS, "lower", 5, float(ROWS.mean()))
    assert found.value == pytest.approx(whole.value, rel=1e-13)
    assert found.standard_error == pytest.approx(whole.standard_error, rel=1e-12)
    assert found.ess == pytest.approx(whole.ess, rel=1e-13)
    assert (found.kind, found.n_rows, found.n_importance) == ("lower", 1000, 5)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (-1234.567, 0.019, "= -1234.567 ± 0.019 nats (9 rows)"),
        (-1234567.8, 123.4, "= -1234568 ± 123 nats (9 rows)"),
        (0.123456, 0.1, "= 0.12 ± 0.10 nats (9 rows)"),
        (-22.6912, 0.1899, "= -22.69 ± 0.19 nats (9 rows)"),
        (-3.5, math.nan, "= -3.50 nats (9 rows)"),
    ],
)
def test_an_estimate_has_the_digits_that_its_error_has(value, error, text):
    assert str(Estimate(value, error, "exact", 9)) == text


@pytest.mark.parametrize("bounds", PARTS)
def test_summaries(bounds):
    kl = torch.rand(1000, 3, generator=generator, dtype=torch.float64)
    codes = (
        torch.tensor([1.0, 0.101, 0.099])
        * torch.nn.functional.normalize(torch.randn(1000, 3, generator=generator) - 0.0, dim=0)
        * np.sqrt(999)
    )
    whole = ElboTerms(ROWS, kl, codes, 2 * ROWS)
    parts = [ElboTerms(ROWS[a:b], kl[a:b], codes[a:b], 2 * ROWS[a:b]) for a, b in pairwise(bounds)]
    found = summarize(parts)
    assert found.elbo.value == pytest.approx(whole.elbo.mean().item(), rel=1e-13)
    assert found.reconstruction == pytest.approx(ROWS.mean().item(), rel=1e-13)
    assert found.kl.tolist() == pytest.approx(kl.mean(0).tolist(), rel=1e-13)
    assert found.active_units == whole.active_units
