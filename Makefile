# Everything here works on a machine that has only Python 3.11, 3.12 or 3.13 and make.
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.13 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c '$(SUPPORTED)' 2>/dev/null && echo $$p && break; done)
CHECK_PYTHON = @test -n "$(PYTHON)" && $(PYTHON) -c '$(SUPPORTED)' 2>/dev/null || { \
	echo "podium needs Python 3.11, 3.12 or 3.13$(if $(PYTHON),; $(PYTHON) is not one of them): install one, or call make PYTHON=/path/to/python" >&2; \
	exit 1; }
FAST_TESTS := -m "not slow and not kill and not demo" -n auto --maxprocesses 4
VENV ?= .venv
LATEST := .venv-latest
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: help install demo sheet images test test-latest test-all test-kill test-demo bench scores recipes estimates scale cluster mutate check licences audit sbom format lock clean

help:            ## show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

install: $(STAMP) ## virtual environment, locked dependencies, podium

# The stamp is younger than the lock and the package's metadata when nothing has to be installed. podium is installed
# in place and built with the locked setuptools, so nothing outside the lock is fetched.
$(STAMP): requirements.txt pyproject.toml
	$(CHECK_PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP)    ## draw a car competition, train a small ensemble on it, write and check a submission
	$(BIN)/podium demo

sheet: $(STAMP) ## draw the cars of the README, docs/cars.jpg
	$(BIN)/python -m podium.demo.sheet docs/cars.jpg

images: demo ## draw the other images of the README, docs/images, from the finished demo; needs Chromium
	$(BIN)/python docs/make_images.py

test: $(STAMP)    ## all tests except the slow ones, in under six minutes on two cores
	$(BIN)/python -m pytest $(FAST_TESTS)

# Ranges instead of the lock, in an environment that is made anew every time: pip knows nothing of uv's constraints.
test-latest:     ## the tests of `make test` with the newest versions that pyproject.toml allows, in .venv-latest
	$(CHECK_PYTHON)
	$(PYTHON) -m venv --clear $(LATEST)
	$(LATEST)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	$(LATEST)/bin/python --version
	$(LATEST)/bin/python -m pip list --disable-pip-version-check
	$(LATEST)/bin/python -m pytest $(FAST_TESTS)

test-all: $(STAMP) ## all tests, including the slow ones: large backbones, exhaustive tables
	$(BIN)/python -m pytest -m "not kill and not demo" -n auto --maxprocesses 4

test-kill: $(STAMP) ## interrupt trainings and fleets at many moments, resume them, and compare the results; options: KILLS=, SEED=
	$(if $(KILLS),PODIUM_KILLS=$(KILLS)) $(if $(SEED),PODIUM_KILL_SEED=$(SEED)) $(BIN)/python -m pytest -m kill -v -rP

test-demo: $(STAMP) ## run the whole demo, and check its scores on the hidden answers
	$(BIN)/python -m pytest -m demo -rP

bench: $(STAMP)   ## compare podium with its alternatives, write benchmarks/results.md; options: DATA=, WEIGHTS=, TORCH=, ONLY=
	$(BIN)/python -m benchmarks $(if $(DATA),--data "$(DATA)") $(if $(WEIGHTS),--weights "$(WEIGHTS)") \
		$(if $(TORCH),--torch "$(TORCH)") $(foreach name,$(ONLY),--only $(name))

scores: $(STAMP)  ## compare scores with Keras's guide and fastai in the same minutes; options: DATA=, COMPETITION=, WEIGHTS=, PEERS=, ONLY=, MINUTES=
	$(BIN)/python -m benchmarks.scores $(if $(DATA),--data "$(DATA)") $(if $(WEIGHTS),--weights "$(WEIGHTS)") \
		$(if $(COMPETITION),--competition "$(COMPETITION)") $(if $(PEERS),--peers "$(PEERS)") \
		$(foreach name,$(ONLY),--only $(name)) $(if $(MINUTES),--minutes $(MINUTES))

recipes: $(STAMP) ## train with and without each technique of docs/recipes.md; options: MEMBER=, SET=, DATA=, ONLY=, SEEDS=
	$(BIN)/python -m benchmarks.techniques $(if $(MEMBER),--member "$(MEMBER)") $(if $(DATA),--data "$(DATA)") \
		$(if $(SET),--set "$(SET)") $(if $(SEEDS),--seeds $(SEEDS)) $(if $(ONLY),--only "$(ONLY)")

estimates: $(STAMP) ## compare nested estimates with hidden scores on ten drawn competitions
	$(BIN)/python -m benchmarks.estimates

scale: $(STAMP)   ## measure tables, folds, catalogue, data check and an epoch at 10 and 100 thousand images, for docs/limits.md; options: IMAGES=
	$(BIN)/python -m benchmarks.scale $(if $(IMAGES),--images $(IMAGES))

cluster: $(STAMP) ## measure what a Ray cluster costs and brings, for docs/scale.md; options: ROUNDS=
	$(BIN)/python -m benchmarks.cluster $(if $(ROUNDS),--rounds $(ROUNDS))

mutate: $(STAMP)  ## plant small mistakes in the code that matters most, and list those that no test notices; options: ONLY=, AGAIN=1
	$(BIN)/python -m benchmarks.mutation $(if $(AGAIN),--again) $(ONLY)

check: $(STAMP)   ## ruff, mypy --strict, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

licences: $(STAMP) ## write the licences of all dependencies to docs/licences.md
	$(BIN)/python docs/make_licences.py

audit: $(STAMP)   ## look for known vulnerabilities in the locked dependencies
	$(BIN)/uvx --quiet pip-audit --requirement requirements.txt --require-hashes --disable-pip --strict

sbom: $(STAMP)    ## write a software bill of materials of the environment, build/sbom.json, in the format of CycloneDX
	@mkdir -p build
	$(BIN)/uvx --quiet --from 'cyclonedx-bom>=7,<8' cyclonedx-py environment --pyproject pyproject.toml \
		--output-reproducible --output-format JSON --output-file build/sbom.json $(BIN)/python

format: $(STAMP)  ## format and fix the code with ruff
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Extras stay in the lock: with hashes, pip takes coverage[toml] for another requirement than coverage, and an old pip
# fails as soon as a newer release than the locked one is out.
lock: $(STAMP)    ## resolve requirements.txt again from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --upgrade \
		--no-strip-extras --no-emit-index-url --custom-compile-command "make lock" --quiet --output-file requirements.txt

clean:           ## remove the virtual environment and caches, never runs/ or submissions/
	rm -rf $(VENV) $(LATEST) build .pytest_cache .mypy_cache .ruff_cache
