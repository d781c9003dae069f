"""Sentences, names and dialogues: log p of held-out text with z and without, and texts that are drawn.

    python benchmarks/text.py sentences --models RUNS
    python benchmarks/text.py names --data FOLDER --models RUNS
    python benchmarks/text.py dialogues --data FOLDER --models RUNS

Sentences are drawn from six lists of words, so that their log p is known: −9.84 nats. FOLDER holds ``names.txt``, a
name a line, of which every tenth is held out; and ``sgd_train.jsonl`` and ``sgd_dev.jsonl``, dialogues with ``turns``
of [speaker, text], of which the responses of the system are modeled given the three turns before each. Every model is
saved in RUNS; one that is there isn't fitted again, so ``--fit NAME`` in several processes and then a run without it
does the same.

Models: ``exact`` has no latent variables, ``vae`` the defaults, and ``off`` none of the defaults that keep z in use:
no KL warm-up and no free bits.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from density import machine, recorded, revision

from lowerbound import BPE, SequenceVAE, dialogue_pairs, load
from lowerbound.storage.atomic import write_text

RESULTS = Path(__file__).parent / "results"
N_TURNS = 3
KINDS: dict[str, dict[str, Any]] = {
    "exact": {"latent_dim": 0},
    "vae": {},
    "off": {"objective": "elbo"},
}
SHARED: dict[str, dict[str, Any]] = {
    "sentences": {"latent_dim": 16, "hidden_size": 64, "max_epochs": 8, "batch_size": 64},
    "names": {"hidden_size": 128, "max_epochs": 10, "batch_size": 128},
    "dialogues": {"hidden_size": 128, "max_epochs": 12, "batch_size": 64, "tokens": BPE(1000)},
}


WORDS = (
    ("i", "we", "my friend", "the team", "someone"),
    ("would like", "need", "want", "am looking for", "booked"),
    ("a table", "two tickets", "a room", "a taxi", "a doctor", "some music"),
    ("in Rome", "near the lake", "at the station", "downtown", ""),
    ("tonight", "at 8 pm", "next friday", "for monday", "right now"),
    ("thanks", "please", "is that possible?", "can you help?", ""),
)


def sentences() -> tuple[dict[str, Any], dict[str, Any]]:
    """Sentences to fit and held out."""
    rng = np.random.default_rng(5)
    each = [" ".join(filter(None, (str(rng.choice(words)) for words in WORDS))) for _ in range(2400)]
    return {"X": each[:2000], "context": None}, {"X": each[2000:], "context": None}


def names(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Names to fit and held out."""
    each = (folder / "names.txt").read_text(encoding="utf-8").splitlines()
    return {"X": [n for i, n in enumerate(each) if i % 10], "context": None}, {"X": each[::10], "context": None}


def dialogues(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Responses of the system, given the turns before, to fit and held out: every tenth of the latter."""
    parts = []
    for name, step in (("train", 1), ("dev", 10)):
        lines = (folder / f"sgd_{name}.jsonl").read_text(encoding="utf-8").splitlines()
        pairs = [pair for line in lines for pair in dialogue_pairs(json.loads(line)["turns"], N_TURNS, "S")]
        parts.append({"X": [response for _, response in pairs[::step]], "context": [c for c, _ in pairs[::step]]})
    return parts[0], parts[1]


def fitted(what: str, kind: str, train: dict[str, Any], folder: Path, seed: int) -> tuple[SequenceVAE, dict[str, Any]]:
    """A model and what is known of its fit; loaded, if it is there."""
    place = folder / (f"{what}-{kind}" if not seed else f"{what}-{kind}-seed-{seed}")
    if not (place / "fit.json").exists():
        model = SequenceVAE(**{**SHARED[what], **KINDS[kind]}, early_stopping=False, random_state=seed)
        cpu = time.process_time()
        model.fit(train["X"], context=train["context"])
        seconds = round(time.process_time() - cpu, 1)
        model.save(place / "model")
        record = {"parameters": recorded(model.get_params(deep=False)), "cpu_seconds": seconds, "kl_in_fit": model.kl_}
        write_text(place / "fit.json", json.dumps(record))
    return load(place / "model"), json.loads((place / "fit.json").read_text(encoding="utf-8"))


def measured(model: SequenceVAE, test: dict[str, Any], n_importance: int) -> dict[str, Any]:
    """Estimates on held-out texts."""
    found = {"test": model.log_likelihood(**test, n_importance=n_importance).to_dict()}
    if model.latent_dim:
        terms, information = model.elbo_terms(**test), model.mutual_information(**test)
        found |= {"elbo": terms.elbo.mean().item(), "kl": terms.kl.sum(-1).mean().item()}
        found |= {"active_units": terms.active_units, "mutual_information": information.to_dict()}
        found |= {"different_of_ten": len(set(model.sample(10, temperature=0.0)))} if test["context"] is None else {}
    return found


def drawn_names(model: SequenceVAE, known: list[str], n: int = 1000) -> dict[str, Any]:
    """The share of draws that are new, KL(lengths of the data ‖ lengths of the draws), and some of the draws."""
    draws, there = model.sample(n, random_state=1), set(known)
    of_data, of_draws = Counter(map(len, known)), Counter(map(len, draws))
    lengths = of_data.keys() | of_draws.keys()
    p = np.array([of_data[length] / len(known) for length in lengths])
    q = np.array([of_draws[length] + 0.5 for length in lengths])  # a length that wasn't drawn isn't impossible
    kl = float((p * np.log(np.maximum(p, 1e-12) / (q / q.sum()))).sum())
    new = sum(name not in there for name in draws) / n
    return {"new": new, "lengths_kl": kl, "longest": max(map(len, draws)), "draws": draws[:20]}


def answers(models: dict[str, SequenceVAE], test: dict[str, Any], n_contexts: int = 50) -> dict[str, Any]:
    """Ten draws of z for each context, decoded greedily: how many differ, and how probable they are without z."""
    places = np.linspace(0, len(test["X"]) - 1, n_contexts).astype(int)
    vae, exact, found = models["vae"], models["exact"], []
    scores: dict[str, list[float]] = {"answers": [], "samples of exact": []}
    for i in places:
        context = test["context"][i]
        each = vae.sample(10, context=context, temperature=0.0, random_state=int(i))
        drawn = exact.sample(10, context=context, random_state=int(i))
        for name, texts in (("answers", each), ("samples of exact", drawn)):
            estimate = exact.log_likelihood(texts, context=context)
            scores[name].append(estimate.per_token)
        found.append({"context": context, "response": test["X"][i], "answers": list(dict.fromkeys(each))})
    n_different = [len(each["answers"]) for each in found]
    return {
        "different_of_ten": float(np.mean(n_different)), "least": min(n_different), "contexts": n_contexts,
        **{f"per_token, {name}": float(np.mean(values)) for name, values in scores.items()}, "examples": found[::5],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=tuple(SHARED))
    parser.add_argument("--data", type=Path, help="folder with the files; for names and dialogues")
    parser.add_argument("--models", type=Path, required=True, help="folder for the models")
    parser.add_argument("--fit", choices=tuple(KINDS), help="fit this one and do no more")
    parser.add_argument("--kinds", nargs="+", choices=tuple(KINDS), default=list(KINDS), help="measure these alone")
    parser.add_argument("--n-importance", type=int, default=100)
    parser.add_argument("--random-state", type=int, default=0)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    if arguments.what == "sentences":
        train, test = sentences()
    else:
        train, test = (names if arguments.what == "names" else dialogues)(arguments.data)
    kinds = [arguments.fit] if arguments.fit else arguments.kinds
    models, fits = {}, {}
    for kind in kinds:
        models[kind], fits[kind] = fitted(arguments.what, kind, train, arguments.models, arguments.random_state)
    if arguments.fit:
        return
    command = " ".join(["python", *sys.argv]).replace(str(arguments.models), "RUNS")
    record: dict[str, Any] = {
        "command": command.replace(str(arguments.data), "FOLDER"), "commit": revision(),
        "machine": machine(), "texts": len(train["X"]), "test_texts": len(test["X"]),
    }  # fmt: skip
    for kind, model in models.items():
        record[kind] = fits[kind] | measured(model, test, arguments.n_importance)
        if arguments.what == "names":
            record[kind] |= drawn_names(model, train["X"] + test["X"])
        print(kind, json.dumps(record[kind]), flush=True)
    if arguments.what == "dialogues":
        record |= answers(models, test)
    of_seed = f"-seed-{arguments.random_state}" if arguments.random_state else ""
    output = arguments.output or RESULTS / f"text-{arguments.what}{of_seed}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
