"""Scores of likeness against exact values and other libraries."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp
from sklearn.metrics import roc_auc_score

from lowerbound.synthesis.copies import copies
from lowerbound.synthesis.learning import learning
from lowerbound.synthesis.likeness import Area, placements, shapes, told_apart, trends
from lowerbound.synthesis.quality import quality

RNG = np.random.default_rng(0)


def table(n, slope=1.0, rng=RNG):
    x = rng.normal(size=n)
    word = np.where(rng.random(n) < 0.5 + 0.4 * np.sign(x), "high", "low")
    return pd.DataFrame({"x": x, "y": slope * x + 0.5 * rng.normal(size=n), "word": word})


def test_shapes_are_one_less_the_distances_of_kolmogorov_and_of_total_variation():
    a, b = table(300), table(200)
    b["x"] += 0.3
    b.loc[:20, "word"] = "other"
    found = shapes(a, b)
    assert found["x"] == pytest.approx(1 - ks_2samp(a["x"], b["x"]).statistic)
    p, q = (frame["word"].value_counts(normalize=True) for frame in (a, b))
    assert found["word"] == pytest.approx(1 - 0.5 * p.subtract(q, fill_value=0).abs().sum())
    assert set(shapes(a, a).values()) == {1.0}


def test_trends_of_two_numbers_are_one_less_half_the_difference_of_correlations():
    a, b = table(400)[["x", "y"]], table(400, slope=-1.0)[["x", "y"]]
    correlations = [frame.corr().iloc[0, 1] for frame in (a, b)]
    assert trends(a, b) == pytest.approx(1 - abs(correlations[0] - correlations[1]) / 2)


def test_trends_of_two_words_are_one_less_the_distance_of_their_tables():
    a = pd.DataFrame({"u": ["a", "a", "b", "b"], "v": ["c", "c", "d", "d"]})
    b = pd.DataFrame({"u": ["a", "a", "b", "b"], "v": ["d", "c", "d", "c"]})
    assert trends(a, b) == pytest.approx(0.5)
    assert trends(a, a) == 1.0


def test_independent_columns_keep_shapes_and_lose_trends():
    a = table(2000)
    b = a.assign(y=a["y"].sample(frac=1, random_state=0).to_numpy())
    assert np.mean(list(shapes(a, b).values())) == 1.0
    assert trends(a, b) < 0.85


def test_the_area_is_that_of_scikit_learn_with_a_standard_error_that_repetitions_have():
    rng = np.random.default_rng(1)
    y = np.repeat([True, False], [80, 120])
    areas = [Area.of(y, rng.normal(size=200) + y) for _ in range(400)]
    scores = rng.normal(size=200) + y
    assert Area.of(y, scores).value == pytest.approx(roc_auc_score(y, scores))
    spread = np.std([area.value for area in areas], ddof=1)
    mean = np.mean([area.standard_error for area in areas])
    assert mean == pytest.approx(spread, rel=4 / np.sqrt(2 * 400))  # a deviation's standard error is σ/√(2n)


def test_ties_count_a_half():
    of_positives, of_negatives = placements(np.array([True, False, False]), np.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(of_positives, [0.75])
    np.testing.assert_allclose(of_negatives, [0.5, 1.0])


def test_rows_of_one_distribution_are_not_told_apart_and_others_are():
    a, b, c = table(600), table(600), table(600, slope=-1.0)
    same, other = told_apart(a, b), told_apart(a, c)
    assert abs(same.value - 0.5) < 4 * same.standard_error
    assert other.value > 0.8


def test_a_target_is_learned_from_rows_that_know_it_and_not_from_shuffled_ones():
    fitted, held_out = table(600), table(300)
    shuffled = fitted.assign(word=fitted["word"].sample(frac=1, random_state=0).to_numpy())
    good, bad = (learning(fitted, held_out, drawn, "word") for drawn in (table(600), shuffled))
    assert good.from_drawn == pytest.approx(good.from_real, abs=0.05)
    assert good.measure == "AUROC"
    assert bad.from_drawn < good.from_real - 0.2
    numbers = learning(fitted, held_out, table(600), "y")
    assert numbers.measure == "R²"
    assert numbers.from_drawn > 0.6


def test_copies_are_found_and_new_rows_are_none():
    fitted, held_out, new = table(800), table(400), table(400)
    log_p = [np.zeros(50), np.zeros(50)]
    fresh, repeated = copies(fitted, held_out, new, *log_p), copies(fitted, held_out, fitted[:400], *log_p)
    assert fresh.drawn == 0
    assert abs(fresh.nearer - 0.5) < 4 * fresh.nearer_standard_error
    assert (repeated.drawn, repeated.nearer) == (1.0, 1.0)
    assert fresh.membership.value == 0.5


def test_drawn_and_real_rows_teach_in_equal_numbers():
    fitted, held_out = table(2000), table(300)
    few, many = (learning(fitted, held_out, table(n), "y").from_real for n in (90, 2000))
    assert few < many - 0.02


def test_a_class_that_no_drawn_row_has_is_not_left_out():
    x = RNG.normal(size=900)
    rows = pd.DataFrame({"x": x, "class": np.digitize(x, [-0.5, 0.5]).astype(str)})
    fitted, held_out = rows[:600], rows[600:]
    found = learning(fitted, held_out, fitted[fitted["class"] != "2"], "class")
    assert found.from_real > 0.95
    assert found.from_drawn < 0.8  # 1 of the lowest class, 0.75 of the next, 0.5 of the highest; 0.87 without it


def test_a_class_of_one_row_among_many_is_no_obstacle():
    rows = pd.DataFrame({"x": np.arange(10_100) % 7, "class": np.where(np.arange(10_100) % 7 < 3, "a", "b")})
    rows.loc[0, "class"] = "once"
    assert learning(rows, rows[1:300], rows, "class").from_real > 0.95


def test_the_order_of_the_rows_says_nothing_of_copies():
    def numbers(n):
        return pd.DataFrame({"x": np.sort(np.where(RNG.random(n) < 0.5, 1.0, 100.0) * RNG.random(n))})

    fitted, held_out = numbers(6000), numbers(4200)
    found = copies(fitted, held_out, numbers(2000).sample(frac=1, random_state=0), np.zeros(50), np.zeros(50))
    assert abs(found.nearer - 0.5) < 4 * found.nearer_standard_error


def test_figures_of_drawn_rows_stand_beside_those_of_as_many_real_ones():
    fitted, held_out, drawn = (pd.DataFrame(RNG.normal(size=(n, 20))) for n in (1500, 60, 1500))
    found = quality(fitted, held_out, drawn, target=None, log_p=[np.zeros(9), np.ones(9)])
    assert found.shape == pytest.approx(found.shape_of_real, abs=0.03)  # 0.08 higher with all 1,500
