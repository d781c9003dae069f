# make demo: a fitted model of handwritten digits, with pictures.  make test: the tests.  make docs: the site.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DOCUMENTING := $(VENV)/.documenting
MINIMUM := .venv-minimum
INSTALL := pip install --quiet --no-compile  # modules are compiled when they are first imported, and kept:
unexport PYTHONDONTWRITEBYTECODE
# short tests of what other libraries' versions touch: conventions, saved models, tables, files, likelihoods, the command
# line, and compressed files of other versions, which have to give the same rows
SHORT := tests/estimators/test_gaussian.py tests/estimators/test_factorized.py tests/estimators/test_ppca.py \
	tests/data tests/distributions/test_contract.py tests/storage tests/test_saved_formats.py tests/test_identities.py \
	tests/cli/test_program.py tests/compression/test_earlier_versions.py

.PHONY: demo test lint docs javascript package minimum oldest api clean

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/$(INSTALL) torch==$$(sed -n 's/^torch==//p' constraints.txt)
	$(BIN)/$(INSTALL) -c constraints.txt -e '.[test]'
	touch $@

$(DOCUMENTING): $(INSTALLED)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]' build
	touch $@

demo: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python tutorials/demo.py  # small networks are quickest on one thread

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(DOCUMENTING)  # into build/site; a warning is an error
	mkdir -p build
	OMP_NUM_THREADS=1 $(BIN)/python tutorials/models.py build/tutorials --quick > build/printed.txt
	mv build/printed.txt build/tutorials/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

javascript:  # what the report and the page run: types and unit tests; axe-core is for the tests of the page
	npm ci --prefix tests/javascript --no-audit --no-fund --silent
	npm run --prefix tests/javascript --silent types
	npm test --prefix tests/javascript --silent

package: $(DOCUMENTING)  # sdist and wheel into dist/, and the wheel tried in an environment of its own
	rm -rf dist build/tried
	$(BIN)/python -m build --outdir dist .
	$(PYTHON) -m venv build/tried
	build/tried/bin/$(INSTALL) -c constraints.txt dist/*.whl
	build/tried/bin/lowerbound --help > /dev/null
	cd build && OMP_NUM_THREADS=1 tried/bin/python -c "from lowerbound import VAE, read; X = read('digits').X; \
	    print(VAE(2, max_epochs=1, random_state=0).fit(X).sample(3).shape)"
	cd build && ! tried/bin/lowerbound explore nothing 2> explore.txt && grep -q "lowerbound\[ui\]" explore.txt
	build/tried/bin/$(INSTALL) -c constraints.txt "$$(ls dist/*.whl)[ui]"
	cd build && OMP_NUM_THREADS=1 tried/bin/python -c "from lowerbound import VAE, read; X = read('digits').X; \
	    page = VAE(2, max_epochs=1, random_state=0).fit(X).explore(X, browser=False); print(len(page.files)); page.close()"

minimum: oldest  # the short tests with the oldest versions that pyproject.toml allows; MINIMUM_TORCH=1: of torch, too
	$(MINIMUM)/bin/$(INSTALL) --no-deps -e .
	$(MINIMUM)/bin/python -m pytest -n 2 --dist loadfile $(SHORT)

oldest:  # what `minimum` installs
	$(PYTHON) -m venv $(MINIMUM)
	$(PYTHON) .ci/minimum.py > $(MINIMUM)/minimum.txt
	$(MINIMUM)/bin/$(INSTALL) -r $(MINIMUM)/minimum.txt

api: $(INSTALLED)  # after a change of public names or signatures that is meant
	$(BIN)/python -m tests.api

clean:
	rm -rf $(VENV) $(MINIMUM) build dist .pytest_cache .ruff_cache .hypothesis
