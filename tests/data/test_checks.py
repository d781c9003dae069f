"""Sequences and texts given where rows are wanted."""

import numpy as np
import pytest

from lowerbound import VAE, Mixture, PixelRNN, Sequences, VAEImputer, VAEOutlierDetector
from lowerbound.data.checks import DataError

SERIES = [np.zeros((3, 2)), np.zeros((4, 2))]


@pytest.mark.parametrize("model", [VAE, Mixture, PixelRNN, VAEImputer, VAEOutlierDetector])
def test_models_of_rows_say_what_takes_sequences_and_texts(model):
    for X in (SERIES, Sequences.of(SERIES)):
        with pytest.raises(DataError, match=r"of which RecurrentVAE is a model \(p_values rank them"):
            model().fit(X)
    with pytest.raises(DataError, match="of which SequenceVAE is a model"):
        model().fit(["anna", "otto"])


def test_images_and_rows_in_a_list_are_rows():
    assert VAE().describe([np.eye(3), np.zeros((3, 3)), np.ones((3, 3))]).row_shape == (3, 3)
    with pytest.raises(DataError, match="row 1 has 3 values, and row 0 has 2"):
        VAE().fit([[1.0, 2.0], [1.0, 2.0, 3.0]])
