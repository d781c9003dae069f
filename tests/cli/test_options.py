"""Flags, assignments and files: names, defaults, precedence, refusals."""

import inspect
import json
import re

import pytest

from lowerbound import ELBO, MLP, VAE, Adam
from lowerbound.cli import main
from lowerbound.cli.config import resolve
from lowerbound.cli.options import FLAGS, DataOptions
from lowerbound.parameters.vae import VAE_PARAMETERS

SIGNATURE = {name: p.default for name, p in inspect.signature(VAE.__init__).parameters.items() if name != "self"}
FLAG_OF = {option.name: option for option in main.commands["train"].params}


def dry_run(cli, *words):
    """The parameters that these words make."""
    return json.loads(cli("train", "digits", "--dry-run", "--json", *words).stdout)["parameters"]


def resolved(flags=None, assignments=(), path=None):
    return resolve({"source": "digits"}, flags or {}, assignments, path, None)


def test_every_parameter_has_a_flag_of_its_name():
    flags = {name: option.opts[0] for name, option in FLAG_OF.items() if name in SIGNATURE and name != "verbose"}
    assert flags == {name: "--" + name.replace("_", "-") for name in SIGNATURE if name != "verbose"}


def test_defaults_are_those_of_the_estimator():
    assert resolved().parameters == {name: default for name, default in SIGNATURE.items() if name != "verbose"}


def test_help_names_every_flag_and_its_default(cli):
    text = " ".join(cli("train", "--help").stdout.split())
    for name, parameter in FLAGS.items():
        default = parameter.default
        word = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
        shown = word.lower() if default in (None, True, False) else word
        assert re.search(rf"--{name.replace('_', '-')}\b[^\[]*(\[no-[^\]]*)?[^\[]*\[{re.escape(shown)}\]", text), name


@pytest.mark.parametrize(
    ("name", "word", "value"),
    [
        ("latent_dim", "7", 7),
        ("latent_dim", "auto", "auto"),
        ("hidden_layer_sizes", "32,16", (32, 16)),
        ("hidden_layer_sizes", "", ()),
        ("image_shape", "8,8", (8, 8)),
        ("image_shape", "none", None),
        ("standardize", "false", False),
        ("scale", "0.5", 0.5),
        ("scale", "unit", "unit"),
        ("binarize", "none", None),
        ("random_state", "12", 12),
        ("device", "cpu", "cpu"),
    ],
)
def test_words_become_values(name, word, value):
    flag = FLAG_OF[name].type.convert(word, None, None)
    assert flag == value
    assert type(flag) is type(value)
    assert resolved(assignments=[f"{name}={word}"]).parameters[name] == value


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
        "network": MLP([4, 4]),
        "objective": ELBO(n_samples=1),
    }
    assert {name: found[name] for name in wanted} == wanted


def test_a_flag_may_restore_the_default(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('latent_dim = 2\nbinarize = "sample"\n')
    found = resolved({"latent_dim": "auto"}, path=file).parameters
    assert (found["latent_dim"], found["binarize"]) == ("auto", None)


def test_the_file_may_name_the_data(cli, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('model = "vae"\n[data]\nsource = "digits"\n')
    assert json.loads(cli("train", "-c", file, "--dry-run", "--json").stdout)["data"]["name"] == "digits"


def test_a_configuration_is_read_as_it_was_written(tmp_path):
    file = tmp_path / "config.toml"
    first = resolved({"image_shape": (8, 8), "standardize": False, "random_state": 3})
    file.write_text(first.to_toml({"latent_dim": 32}))
    again = resolve({}, {}, (), file, None)
    assert (again.model, again.data, again.parameters) == (first.model, first.data, first.parameters)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--latent-dimm", "3"], "--latent-dim"),
        (["--latent-dim", "0"], "latent_dim must be 'auto' or a whole number ≥ 1 or several, got 0"),
        (["--network", "con"], "(did you mean 'conv'?)"),
        (["--lr", "inf"], "lr must be a number > 0"),
        (["--verbose", "2"], "Got unexpected extra argument"),
        (["-s", "latent_dmi=3"], "there is no parameter 'latent_dmi' (did you mean 'latent_dim'?)"),
        (["-s", "verbose=3"], "there is no parameter 'verbose'"),
        (["-s", "latent_dim"], "write it as key=value"),
        (["-s", "lr=fast"], "lr must be a number > 0, got 'fast'"),
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


def test_the_verbosity_is_not_a_flag_of_the_model():
    assert set(VAE_PARAMETERS) - set(FLAGS) == {"verbose"}
