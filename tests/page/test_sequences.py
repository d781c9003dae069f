"""The facts of models of sequences and of texts, and the answers of their page."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from lowerbound import ELBO, Adam, RecurrentVAE, Sequences, SequenceVAE
from lowerbound.report import page, sequence_facts, series_facts, series_unusual, text_facts
from lowerbound.report.series_rows import shown
from lowerbound.report.series_subject import SeriesSubject
from lowerbound.report.subjects import report_facts, subject_of
from lowerbound.web.refusals import Unanswerable
from lowerbound.web.sequence_service import SequenceService

pytestmark = pytest.mark.filterwarnings(  # small models of few steps are no good ones
    "ignore::lowerbound.CollapsedPosteriorWarning", "ignore:.*effective sample size", "ignore:.*had no end"
)

EVERYWHERE = {"overview", "estimates", "samples", "continuations", "map", "pairs", "dimensions", "outliers"}


def test_every_section(of_texts, of_songs, of_series):
    assert set(of_texts) >= EVERYWHERE | {"traversals", "bits"}
    assert set(of_songs) >= EVERYWHERE | {"gaps", "bits"}
    assert set(of_series) >= EVERYWHERE | {"gaps"}
    assert "bits" not in of_series  # a density is no message
    for facts in (of_texts, of_songs, of_series):
        assert json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_panels_without_content_say_why(of_texts, of_songs, song_subject):
    assert set(of_texts["overview"]["lacks"]) == {"gaps"}
    assert set(of_songs["overview"]["lacks"]) == {"traversals"}
    bare = sequence_facts.overview(SeriesSubject.of(song_subject.model))
    assert {"map", "pairs", "outliers", "gaps"} <= set(bare["lacks"])
    assert bare["has"]["samples"]
    exact = RecurrentVAE(0, head="masked", hidden_size=4, max_epochs=1, random_state=0).fit(list(song_subject.X))
    lacks = sequence_facts.lacks(SeriesSubject.of(exact, song_subject.X))
    assert "latent_dim=0" in lacks["map"]
    assert "masked" in lacks["gaps"]
    assert len(series_unusual.outliers(SeriesSubject.of(exact, song_subject.X), 2)["rows"]) == 2


@pytest.mark.parametrize("kind", ["songs", "series"])
def test_one_z_for_a_sequence_makes_a_point_of_each(kind, songs):
    rng = np.random.default_rng(0)
    frames = [pd.DataFrame({"level": a + rng.normal(size=T), "at": rng.choice(["home", "out"], T)})
              for a, T in zip(rng.normal(size=30), rng.integers(3, 9, 30), strict=True)]  # fmt: skip
    frames[2].loc[1, "level"] = np.nan
    X = Sequences.of(frames if kind == "series" else songs)
    subject = subject_of(RecurrentVAE(3, latents="sequence", hidden_size=8, max_epochs=3, random_state=0).fit(X), X)
    facts = report_facts(subject, n_importance=5)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["map"]["n"] == len(X)
    assert facts["map"]["names"][1] == "sequence 1"
    assert [each["name"] for each in facts["map"]["colors"]][:2] == ["KL, in nats", "steps"]
    assert ("mean of level" in str(facts["map"]["colors"])) == (kind == "series")
    assert "interpolate" in facts["overview"]["lacks"]["traversals"]
    assert {"I(x; z)", "KL"} <= {each["name"] for each in facts["estimates"]}
    service = SequenceService(subject)
    assert service.answer("selection", {"rows": [1, 2]})["csv"].splitlines()[0] == "sequence,z0,z1,z2"
    assert len(service.answer("row", {"rows": [2]})["code"]) == 3
    assert service.answer("pairs", {"rows": [2]})["selected"][0]["name"].startswith("sequence 2")


def test_no_data_leaves_them_out(text_subject, song_subject):
    for subject in (text_subject, song_subject):
        facts = report_facts(subject, with_rows=False, n_importance=5)
        assert not {"map", "pairs", "outliers", "gaps", "continuations"} & set(facts)
        said = json.dumps(facts)
        assert not [text for text in text_subject.X if f'"{text}"' in said]


def test_probabilities_of_continuations_are_the_model_s(text_subject):
    found = text_facts.continuations(text_subject, "an", 3)
    model = text_subject.model
    wanted = model.sample(3, prompt="an", distinct=True, random_state=0)
    assert [each["shown"]["text"] for each in found["each"]] == [one.text for one in wanted]
    assert [each["log_p"] for each in found["each"]] == [round(one.log_p, 3) for one in wanted]
    assert text_facts.in_digits(3.14e-5) == "3.1 · 10⁻⁵"
    assert text_facts.in_digits(0.25) == "0.25"


def test_log_p_of_what_follows_on_steps(songs):
    """log p of all continuations by one step is that of the step in the whole, by enumeration of 2³ chords."""
    model = RecurrentVAE(0, hidden_size=4, max_epochs=2, random_state=0).fit(songs)
    subject = SeriesSubject.of(model, songs)
    chords = [np.array([[a, b, c]]) for a in (0, 1) for b in (0, 1) for c in (0, 1)]
    log_p = series_facts.log_p_after(subject, songs[0][:5], chords)
    assert np.exp(log_p).sum() == pytest.approx(1)
    found = series_facts.continuations(subject, 0, 5, 1, 3)
    known = dict(zip(map(bytes, (c.astype(np.uint8) for c in chords)), log_p, strict=True))
    assert len(found["each"]) == 3
    assert {each["log_p"] for each in found["each"]} <= {round(value, 2) for value in known.values()}
    assert [each["log_p"] for each in found["each"]] == sorted((each["log_p"] for each in found["each"]), reverse=True)
    assert found["sign"] == ""  # exact


def test_a_piano_roll_is_what_was_played(song_subject, songs):
    from tests.page.test_facts import pixels

    picture = pixels(shown(song_subject, songs[0], n_prompt=2, marks=[3])["uri"])
    assert picture.shape == (3, len(songs[0]), 3)
    dark = picture.sum(-1) < 200
    np.testing.assert_array_equal(dark, songs[0].T[::-1] == 1)
    assert len(np.unique(picture[~dark], axis=0)) == 3  # what was given, what is marked, and the rest


def test_long_sequences_come_in_pieces_of_about_equal_lengths(series_subject):
    lengths = [piece.end - piece.first for piece in series_subject.pieces]
    assert sum(lengths) == len(series_subject.sequences.steps)
    assert max(lengths) - min(lengths) <= 1
    each = np.arange(sum(lengths), dtype=float)
    first = series_subject.pieces[1]
    assert series_subject.of_pieces(each)[1] == pytest.approx(each[first.first : first.end].mean())
    assert series_subject.name_of_piece(first) == f"a, steps {first.first} to {first.end - 1}"


def test_an_unusual_step_is_found_and_explained(series_subject):
    steps = series_subject.sequences.steps.copy()
    steps.iloc[130, 0] = 40.0
    odd = SeriesSubject.of(series_subject.model, Sequences(steps, series_subject.sequences.lengths))
    found = series_unusual.outliers(odd, 1)["rows"][0]
    assert found["name"] == "sequence 0, steps 83 to 165"
    assert found["shown"]["marks"].count(130 - 83) == 1
    [reason] = [each for each in found["reasons"] if each["step"] == 130]
    assert (reason["feature"], reason["value"]) == ("level", "40")


def test_texts_are_ranked_among_those_of_about_their_length():
    lengths = np.repeat([3, 30], 60)
    log_p = -2.0 * lengths + np.tile(np.linspace(0, 1, 60), 2)
    log_p[7] = -12.0  # short, and improbable for that; all long ones are less probable
    share, off = text_facts.among_like_lengths(log_p, lengths)
    assert np.lexsort((off, share))[0] == 7
    assert share[7] == 0.01


def test_tokens_that_surprise_are_marked(text_subject):
    marks = text_facts.marked(text_subject, 0)
    assert "".join(token for token, _ in marks) == text_subject.X[0] + "⏎"
    assert all(nats >= 0 for _, nats in marks)


def test_fillings_keep_what_was_seen(series_subject):
    piece = series_subject.pieces[0]
    found = series_unusual.filled(series_subject, piece, (50, 60), [0])["overlay"]
    given = next(path for path in found["paths"] if path["role"] == "given")["values"]
    fillings = [path for path in found["paths"] if path["role"] == "filling"]
    assert len(fillings) == series_unusual.N_DRAWN
    assert found["hidden"] == [50, 60, [0]]
    for each in fillings:
        assert each["values"][0][0] == given[0][each["start"]]  # the step before the gap
        assert each["values"][1] == given[1][each["start"] : each["start"] + len(each["values"][1])]
    assert len({tuple(each["values"][0]) for each in fillings}) > 1


def test_bits_of_texts_add_up_to_the_bound(of_texts):
    bits = of_texts["bits"]
    assert bits["z"] + bits["x"] - bits["back"] == pytest.approx(bits["total"], abs=0.05)
    assert bits["one"] == "text"


def test_bits_of_a_step_are_the_bound(of_songs, song_subject):
    terms = song_subject.model.elbo_terms(song_subject.X, 16)
    wanted = -terms.elbo.sum().item() / len(song_subject.X.steps) / math.log(2)
    assert of_songs["bits"]["total"] == pytest.approx(wanted, rel=0.03)
    assert of_songs["bits"]["one"] == "step"


def test_step_terms_add_up_to_those_of_sequences(song_subject):
    on = song_subject.fitted.exactly().on(song_subject.X)
    from lowerbound.evaluation.bound import elbo_terms
    from lowerbound.evaluation.steps import step_expectations, step_terms

    steps, whole = step_terms(on), elbo_terms(on)
    assert steps.kl.sum().item() == pytest.approx(whole.kl.sum().item())
    x = step_expectations(on)
    assert x.shape == (len(song_subject.X.steps), 3)
    assert ((x >= 0) & (x <= 1)).all()


@pytest.fixture(scope="module")
def services(text_subject, song_subject, series_subject):
    each = {"texts": text_subject, "songs": song_subject, "series": series_subject}
    return {name: SequenceService(subject, list) for name, subject in each.items()}


@pytest.mark.parametrize("what", ["texts", "songs", "series"])
def test_answers_are_plain_data(services, what):
    service = services[what]
    bodies = {"rows": {"rows": [3, 5]}, "row": {"rows": [3]}, "selection": {"rows": [1, 2]}, "samples": {"n": 2},
              "pairs": {"n": 2}, "continue": {}}  # fmt: skip
    for name in ("overview", "map", "colors", "dimensions", "training", *bodies):
        answer = service.answer(name, bodies.get(name, {}))
        assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    assert len(service.answer("continue", {})["each"]) == 5
    assert service.answer("pairs", {"rows": [0]})["selected"]


def test_what_is_asked_is_checked(services):
    texts, songs = services["texts"], services["songs"]
    for service, name, body in (
        (texts, "continue", {"prompt": 3}), (texts, "continue", {"temperature": -1}), (texts, "decode", {"z": [[1.0]]}),
        (texts, "gaps", {}), (songs, "decode", {"z": [[0.0, 0.0]]}), (songs, "traversals", {}),
        (songs, "continue", {"sequence": 99}), (songs, "continue", {"sequence": 0, "n_prompt": 1000}),
        (songs, "gaps", {"sequence": 0, "first": 4, "end": 2}), (songs, "gaps", {"column": 7}), (songs, "prior", {}),
    ):  # fmt: skip
        with pytest.raises(Unanswerable):
            service.answer(name, body)


def test_a_text_of_one_s_own_and_a_place_of_the_map(services, text_subject):
    texts = services["texts"]
    [found] = texts.answer("reconstruct", {"text": "anna"})["yours"]
    assert found["output"]["text"] == text_subject.model.reconstruct(["anna"])[0]
    z = [[0.5, -0.5]]
    assert texts.answer("decode", {"z": z})["shown"][0]["text"] == text_subject.model.decode(z)[0]


def test_what_was_said_before_can_be_chosen():
    answers, said = ["yes", "no", "yes please", "no no"] * 10, ["so?", "really?"] * 20
    chat = SequenceVAE(2, hidden_size=8, max_epochs=2, random_state=0).fit(answers, context=said)
    service = SequenceService(subject_of(chat, answers, said), list)
    assert service.answer("overview", {})["given"] == [{"name": "text", "kind": "text", "value": "so?"}]
    found = service.answer("continue", {"given": ["really?"], "prompt": ""})
    wanted = chat.sample(5, context="really?", distinct=True, random_state=0)
    assert [each["shown"]["text"] for each in found["each"]] == [one.text for one in wanted]
    with pytest.raises(ValueError, match="the context is a text"):
        service.answer("continue", {"given": [3]})


def test_a_report_of_sequences_is_one_file(of_songs):
    text = page.html_of(of_songs)
    assert len(text) < 5_000_000
    assert "data:image/png" in text


def test_a_chain_of_latent_variables(songs):
    few = [song[:6] for song in songs[:12]]
    quick = {"hidden_size": 4, "max_epochs": 2, "optimizer": Adam(1e-2), "random_state": 0}
    chained = RecurrentVAE(1, chain=True, objective=ELBO(), **quick).fit(few)
    facts = report_facts(SeriesSubject.of(chained, few), n_importance=4)
    assert {"map", "pairs", "outliers", "gaps", "dimensions"} <= set(facts)
    assert all(each["reasons"] == [] for each in facts["outliers"]["rows"])
    assert math.isfinite(facts["pairs"]["best"][0]["nats"])
