"""Flags, assignments and files: names, defaults, precedence, refusals."""

import inspect
import json
import re

import pytest

import lowerbound
from lowerbound import ELBO, IWAE, MLP, VAE, Adam, BernoulliLikelihood, EarlyStopping, Ladder, VampPrior
from lowerbound.cli.config import Config, resolve
from lowerbound.cli.flags import flags_of, word_of
from lowerbound.cli.models import MODELS, refusal
from lowerbound.cli.options import DataOptions
from lowerbound.cli.output import Failure
from lowerbound.loading import HOMES
from lowerbound.parameters.parameter import plain

SIGNATURE = {name: p.default for name, p in inspect.signature(VAE.__init__).parameters.items() if name != "self"}
FLAGS = flags_of(MODELS["vae"].table)


def dry_run(cli, *words):
    """The parameters that these words make."""
    return json.loads(cli("train", "digits", "--dry-run", "--json", *words).stdout)["parameters"]


def resolved(flags=None, assignments=(), path=None):
    return resolve({"source": "digits"}, flags or {}, assignments, path, None)


@pytest.mark.parametrize("model", MODELS)
def test_every_parameter_of_a_model_has_a_flag_of_its_name(model):
    kind = getattr(lowerbound, MODELS[model].class_name)
    wanted = set(inspect.signature(kind.__init__).parameters) - {"self", "verbose", "estimator"}
    flags = {flag.owner: flag.words[0] for flag in flags_of(MODELS[model].table).values() if not flag.field}
    assert flags == {name: name.replace("_", "-") for name in wanted}


@pytest.mark.parametrize("model", MODELS)
def test_every_field_of_a_part_has_a_flag_and_no_flag_means_two_things(model):
    table = MODELS[model].table
    flags = flags_of(table)
    wanted = {f"{name}__{field}" for name, row in table.items() for kind in row.kinds for field in kind.options()}
    assert {flag.name for flag in flags.values() if flag.field} == wanted
    words = [word for flag in flags.values() for word in flag.words]
    assert len(words) == len(set(words))


def test_the_vae_has_at_most_17_parameters():
    assert len(SIGNATURE) <= 17


def test_defaults_are_those_of_the_estimator():
    assert resolved().parameters == {name: default for name, default in SIGNATURE.items() if name != "verbose"}


@pytest.mark.parametrize("model", MODELS)
def test_the_whole_help_names_every_flag_and_its_default(cli, model):
    text = " ".join(cli("train", "--model", model, "--help-all").stdout.split())
    for flag in flags_of(MODELS[model].table).values():
        shown = re.escape(word_of(flag.parameters[0].default))
        assert re.search(rf"--{re.escape(flag.words[0])}\b[^\[]*(\[no-[^\]]*)?[^\[]*\[{shown}\]", text), flag.name


def test_the_short_help_of_a_vae_names_what_people_use(cli):
    text = cli("train", "--help").stdout
    assert all(f"--{word}" in text for word in ("latent-dim", "prior", "lr", "seed", "max-epochs"))
    assert not any(f"--{word} " in text for word in ("free-bits", "ema", "patience", "warm-start"))


@pytest.mark.parametrize(
    ("name", "word", "value"),
    [
        ("latent_dim", "7", 7),
        ("latent_dim", "auto", "auto"),
        ("latent_dim", "8,4", (8, 4)),
        ("network__hidden_layer_sizes", "32,16", (32, 16)),
        ("network__hidden_layer_sizes", "", ()),
        ("image_shape", "8,8", (8, 8)),
        ("image_shape", "none", None),
        ("likelihood__scale", "0.5", 0.5),
        ("likelihood__scale", "unit", "unit"),
        ("objective__gradient", "dreg", "dreg"),
        ("likelihood__binarize", "none", None),
        ("random_state", "12", 12),
        ("device", "cpu", "cpu"),
    ],
)
def test_words_become_values(name, word, value):
    parsed = FLAGS[name].parse(word)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("assignments", "name", "value"),
    [
        (["prior=vamp"], "prior", "vamp"),
        (["prior=vamp", "prior.n_components=20"], "prior", VampPrior(20)),
        (["free_bits=0.1"], "objective", ELBO(free_bits=0.1)),
        (["objective=iwae", "n-samples=7"], "objective", IWAE(7)),
        (["hidden_layer_sizes=32"], "network", MLP((32,))),  # of no other kind of network
        (["binarize=sample"], "likelihood", BernoulliLikelihood("sample")),
        (["n_levels=3"], "latent_dim", Ladder(3)),
        (["latent_dim=8", "n_levels=3"], "latent_dim", Ladder(3, 8)),
        (["patience=5"], "early_stopping", EarlyStopping(patience=5)),
        (["lr=0.01", "ema=0.9"], "optimizer", Adam(0.01, ema=0.9)),
        (["seed=3"], "random_state", 3),
    ],
)
def test_fields_make_parts(assignments, name, value):
    assert resolved(assignments=assignments).parameters[name] == value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prior.n-components", "3"], "prior is 'normal', which has no such field; --prior mixture or --prior vamp"),
        (["--scale", "decoder"], "likelihood is 'auto', which has no such field"),
        (
            ["--network", "conv", "--activation", "tanh"],
            "network is 'conv', which has no such field",
        ),
        (["--no-early-stopping", "--patience", "3"], "early_stopping is False"),
        (["--gradient", "dreg"], "ELBO: gradient must be 'pathwise' or 'score'"),
        (["--posterior", "mean_field", "--covariance", "full"], "posterior is 'mean_field', which has no such field"),
    ],
)
def test_a_field_of_another_part_is_refused(cli, words, message):
    assert message in " ".join(cli("train", "digits", "--dry-run", *words, exit_code=2).stderr.split())


def test_a_configuration_goes_to_other_processes_and_back():
    config = resolved({"prior": "vamp", "prior__n_components": 3, "image_shape": (8, 8), "early_stopping": False})
    assert Config.from_json(config.to_json()) == config


@pytest.mark.parametrize("model", MODELS)
def test_a_model_says_what_it_cannot_and_which_could(model):
    class_name = MODELS[model].class_name
    for command in ("generate", "evaluate", "encode", "reconstruct", "outliers", "impute"):
        message = refusal(class_name, command)
        assert (message is None) == (command in MODELS[model].can)
        assert message is None or f"`lowerbound {command}`" in message


def test_a_model_that_no_command_trains_is_for_python():
    trained = {each.class_name for each in MODELS.values()}
    assert {"VAEClassifier"} <= HOMES.keys() - trained
    for class_name in HOMES.keys() - trained:
        assert "works from Python alone: lowerbound.load" in refusal(class_name, "evaluate")


def test_switches_have_a_no(cli):
    assert dry_run(cli, "--no-early-stopping")["early_stopping"] is False
    assert dry_run(cli, "-s", "early_stopping=false")["early_stopping"] is False


def test_a_flag_counts_before_an_assignment_before_the_file_before_the_default(cli, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("latent_dim = 2\nlr = 0.5\nmax_epochs = 9\nhidden_layer_sizes = [4, 4]\n")
    found = dry_run(cli, "-c", file, "-s", "lr=0.25", "-s", "latent-dim=3", "--latent-dim", 4)
    wanted = {
        "latent_dim": 4,
        "max_epochs": 9,
        "optimizer": Adam(0.25),
        "network": MLP((4, 4)),
    }
    assert {name: found[name] for name in wanted} == plain(wanted)


def test_a_flag_may_restore_the_default(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("latent_dim = 2\nmax_epochs = 4\n")
    found = resolved({"latent_dim": "auto"}, path=file).parameters
    assert (found["latent_dim"], found["max_epochs"]) == ("auto", 4)


def test_the_file_may_name_the_data(cli, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('model = "vae"\n[data]\nsource = "digits"\n')
    assert json.loads(cli("train", "-c", file, "--dry-run", "--json").stdout)["data"]["name"] == "digits"


def test_a_configuration_is_read_as_it_was_written(tmp_path):
    file = tmp_path / "config.toml"
    first = resolved({"image_shape": (8, 8), "likelihood__standardize": False, "prior": "vamp", "random_state": 3})
    file.write_text(first.to_toml({"latent_dim": 32}))
    again = resolve({}, {}, (), file, None)
    assert (again.model, again.data, again.parameters) == (first.model, first.data, first.parameters)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--latent-dimm", "3"], "--latent-dim"),
        (["--latent-dim", "0"], "a whole number ≥ 1 or several, got 0"),
        (["--network", "con"], "(did you mean 'conv'?)"),
        (["--lr", "inf"], "lr must be 'auto' or a number > 0"),
        (["--verbose", "2"], "Got unexpected extra argument"),
        (["-s", "latent_dmi=3"], "there is no parameter 'latent_dmi' (did you mean 'latent_dim'?)"),
        (["-s", "verbose=3"], "there is no parameter 'verbose'"),
        (["-s", "latent_dim"], "write it as key=value"),
        (["-s", "lr=fast"], "lr must be 'auto' or a number > 0, got 'fast'"),
        (["--model", "vea"], "vae"),
    ],
)
def test_wrong_words_are_wrong_usage(cli, words, message):
    result = cli("train", "digits", "--dry-run", *words, exit_code=2)
    assert message in result.stderr
    assert not result.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("latent_dmi = 3", "no parameter 'latent_dmi' (did you mean 'latent_dim'?)"),
        ("latent_dim = 0.5", "latent_dim must be"),
        ("early_stopping = 1", "early_stopping must be"),
        ("latent_dim = ", "isn't TOML"),
        ('model = "vea"', "no model 'vea' (did you mean 'vae'?)"),
        ('[data]\nsorce = "digits"', "[data] has no key 'sorce' (did you mean 'source'?)"),
        ("[data]\nsource = 3", "[data] source must be text"),
        ("data = 3", "data must be a table"),
    ],
)
def test_a_wrong_file_is_named(cli, tmp_path, text, message):
    file = tmp_path / "run.toml"
    file.write_text(text)
    result = cli("train", "digits", "--dry-run", "-c", file, exit_code=1)
    assert result.stderr.startswith(f"error: {file}")
    assert message in result.stderr


def test_words_of_the_data_make_the_same_data():
    options = DataOptions("a.npz", "x", ("id", "a b"), "y")
    assert options.words() == ["a.npz", "--key", "x", "--drop", "id", "--drop", "a b", "--label", "y"]


OLD = """
latent_dim = 4
levels = 1
hidden_layer_sizes = [64, 64]
scale = "decoder"
covariance = "diag"
inference = "amortized"
hide = 0.5
trim = 0.1
prior = "vamp"
n_prior_components = 20
posterior = "gaussian"
lr = 0.002
n_iter_no_change = 5
[data]
source = "digits"
[chosen]
likelihood = "discretized_logistic"
"""


def test_a_file_of_an_older_version_is_understood_and_upgraded(cli, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(OLD)
    before = resolve({}, {}, (), file, None)
    assert before.parameters["prior"] == VampPrior(20)
    assert before.parameters["likelihood"] == lowerbound.DiscretizedLogistic(scale="decoder")
    assert before.parameters["posterior"] == lowerbound.Amortized(input_dropout=0.5)
    assert before.parameters["early_stopping"] == EarlyStopping(patience=5)
    cli("config", "upgrade", file)
    assert "hide" not in file.read_text()
    assert (tmp_path / "run.toml.before").read_text() == OLD
    assert resolve({}, {}, (), file, None) == before
    assert "already" in cli("config", "upgrade", file).stderr


def test_a_link_to_a_file_is_followed_and_permissions_are_kept(cli, tmp_path):
    (tmp_path / "files").mkdir()
    file, link = tmp_path / "files" / "run.toml", tmp_path / "link.toml"
    file.write_text(OLD)
    file.chmod(0o640)
    link.symlink_to(file)
    result = cli("config", "upgrade", link, "--json")
    kept = file.with_name("run.toml.before")
    assert json.loads(result.stdout) == {"file": str(file), "kept": str(kept), "written": True}
    assert link.is_symlink()
    assert "hide" not in file.read_text()
    assert kept.read_text() == OLD
    assert {path.stat().st_mode & 0o777 for path in (file, kept)} == {0o640}
    again = json.loads(cli("config", "upgrade", link, "--json").stdout)
    assert again == {"file": str(link), "kept": None, "written": False}


def test_a_read_only_file_is_not_replaced(cli, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(OLD)
    file.chmod(0o444)
    assert "read-only" in cli("config", "upgrade", file, exit_code=1).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run.toml"]
    assert file.read_text() == OLD
    cli("config", "upgrade", file, "-o", tmp_path / "new.toml")


def test_an_upgraded_file_can_be_another(cli, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(OLD)
    cli("config", "upgrade", file, "-o", tmp_path / "new.toml")
    assert file.read_text() == OLD
    assert resolve({}, {}, (), tmp_path / "new.toml", None) == resolve({}, {}, (), file, None)
    assert "exists" in cli("config", "upgrade", file, "-o", tmp_path / "new.toml", exit_code=1).stderr


def test_a_field_is_listed_once(cli):
    text = cli("train", "--help-all").stdout
    assert text.count("--optimizer.lr") == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--model", "imputer", "--lr", 3), "--lr: the model imputer has no such parameter; vae, rbm, pixel-rnn, "
         "autoencoder have it. A vae of your own fills gaps too: train --model vae, then lowerbound impute"),
        (("--model", "detector", "--prior", "vamp"), "--prior: the model detector has no such parameter; vae has it. "
         "A vae of your own ranks outliers too: train --model vae, then lowerbound outliers"),
        (("--n-hidden", 3), "--n-hidden: the model vae has no such parameter; rbm has it"),
        (("--n-components", 3), "--n-components is of several: give --likelihood.n-components or --prior.n-components"),
        (("--n-hiden", 3), "No such option '--n-hiden'"),
    ],
)  # fmt: skip
def test_a_flag_of_another_model_gets_a_sentence(cli, words, sentence):
    output = " ".join(cli("train", "digits", *words, exit_code=2).stderr.split())
    assert sentence in output


def test_fields_may_be_written_in_one_word(tmp_path):
    file = tmp_path / "run.toml"
    data = '[data]\nsource = "digits"\n'
    file.write_text('"prior.kind" = "vamp"\n"prior.n_components" = 7\noptimizer.lr = 0.1\n' + data)
    parameters = resolve({}, {}, (), file, None).parameters
    assert (parameters["prior"], parameters["optimizer"]) == (VampPrior(7), lowerbound.Adam(0.1))
    file.write_text('prior = "vamp"\n"prior.n_components" = 7\n' + data)
    with pytest.raises(Failure, match=r'prior is .vamp., so "prior.n_components" can.t be set: write .prior. with'):
        resolve({}, {}, (), file, None)
    file.write_text('"prio.kind" = "vamp"\n' + data)
    with pytest.raises(Failure, match=r"no parameter 'prio' .did you mean 'prior'"):
        resolve({}, {}, (), file, None)


def test_a_dry_run_shows_the_parts(cli):
    words = ("train", "digits", "--dry-run", "--prior", "vamp", "--hidden-layer-sizes", 8, "--latent-dim", 2)
    parts = json.loads(cli(*words, "--json").stdout)["parts"]
    assert parts["prior"] == {"kind": "vamp", "n_components": 100}
    assert parts["objective"]["kl_weight"] == 1
    text = cli(*words).stdout
    assert "\nprior           vamp: n_components 100\n" in text
    assert "\nobjective       elbo: kl_weight 1.0, warmup_steps 0," in text
