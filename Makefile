# README's two commands are `make demo` and `make test`. Everything else serves development: `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := $(VENV)/lock
STAMP := $(VENV)/.installed
# Hundreds of processes are started by the tests: none should compile what another has compiled already.
unexport PYTHONDONTWRITEBYTECODE
# One process more than there are CPUs, from 3, as most of a test is waiting for processes, to 4. `make test PARALLEL=`: one after another.
PARALLEL := -n $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -lt 3 ] && echo 3 || echo 4) --dist worksteal

.PHONY: audit bench bench-core bench-store chaos check clean demo docs format fuzz help imports install kill-snapshots lint lock
.PHONY: coverage packages pythons sim test test-redis test-slow two-machines types

demo: $(VENV)/.demo ## a real pipeline on a private cluster of this machine
	@cd examples/census && CENSUS_OUT="$(CURDIR)/examples/census/.titan/report" ../../$(BIN)/titan run --workers 2 --slots 1 pipeline.yaml

help: ## this list
	@awk -F ':[^#]*## ' '/^[a-z-]+:.*## / { printf "%-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: packages install ## all tests; installs what they need
	$(BIN)/python -m pytest tests $(PARALLEL)

test-slow: packages install ## the long forms of tests that `make test` runs in a short form
	$(BIN)/python -m pytest tests -m slow $(PARALLEL)

coverage: packages install ## lines and branches that the unit, property and sim tests run, by package: make coverage SHOW=core
	$(BIN)/python -m pytest tests/unit tests/property tests/sim $(PARALLEL) --cov --cov-report=json:.coverage.json
	@$(BIN)/python tests/coverage_report.py .coverage.json $(SHOW)

check: install lint types imports pythons test ## everything that CI checks, what fails fastest first
	$(MAKE) chaos SECONDS=60

lint: ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: ## mypy --strict
	$(BIN)/mypy

imports: ## the layers between packages
	$(BIN)/lint-imports

format: install ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

sim: install ## more seeds than the tests run: make sim SEEDS=0..2000
	$(BIN)/python -m titan.sim --seeds $(or $(SEEDS),0..1000)

kill-snapshots: install ## kill -9 of a real master in its snapshots, more often than the tests do: make kill-snapshots KILLS=200 SEED=1
	PYTHONPATH=tests $(BIN)/python -m support.snapshot_kills --kills $(or $(KILLS),200) --seed $(or $(SEED),1)

chaos: packages install ## real processes killed, frozen and cut off, then judged: make chaos SECONDS=600 SEED=7
	PYTHONPATH=tests $(BIN)/python -m chaos.chaos --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1)

test-redis: packages install ## TitanStore beside redis-server, more sequences than the tests run: make test-redis EXAMPLES=2000
	TITAN_REDIS_EXAMPLES=$(or $(EXAMPLES),500) $(BIN)/python -m pytest tests/differential $(PARALLEL)

two-machines: packages install ## README typed on two machines with nothing but Debian 12: make two-machines FOLDER=/var/tmp/bare; as root
	PYTHONPATH=tests $(BIN)/python -m support.two_machines --bare $(or $(FOLDER),/var/tmp/titan-bare) $(MACHINES)

fuzz: install ## strangers' bytes for SECONDS: make fuzz TARGET=archives SECONDS=600 SEED=1
	cd tests && ../$(BIN)/python -m fuzz.$(or $(TARGET),archives) --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1)

docs: install ## the site, in build/site; a broken link fails
	$(BIN)/python docs/make_site.py

pythons: install ## the unit tests with every further Python of this machine, 3.12 to 3.14
	sh tests/pythons.sh

bench-store: packages install ## TitanStore beside redis-server: rates, memory, loading
	$(BIN)/python benchmarks/store.py $(BENCH)

bench: $(VENV)/.bench ## Titan beside every peer that can be installed; some 20 minutes: make bench BENCH="--rounds 5"
	$(BIN)/python -m benchmarks.compare $(BENCH)

bench-core: install ## what the core alone costs per job, by queue length and workers
	$(BIN)/python benchmarks/core.py $(BENCH)

lock: $(LOCK)/.made ## renew requirements.lock: the newest versions that pyproject.toml allows, with the hashes of their files
	@$(LOCK)/bin/pip-compile -q --upgrade --generate-hashes --strip-extras --allow-unsafe --no-header --no-annotate \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links -o $(LOCK)/requirements.lock pyproject.toml
	@{ echo "# What a deployment installs: pip install --require-hashes -r requirements.lock. Renewed by make lock."; \
	cat $(LOCK)/requirements.lock; } > requirements.lock

audit: $(LOCK)/.made ## known vulnerabilities of what is locked; asks a service on the network, so it is no part of make check
	$(LOCK)/bin/pip-audit --require-hashes --disable-pip -r requirements.lock

$(LOCK)/.made:
	$(PYTHON) -m venv $(LOCK)
	@$(LOCK)/bin/python -m pip install -q --disable-pip-version-check 'pip-tools>=7.4' 'pip-audit>=2.7'
	@touch $@

install: $(STAMP) ## .venv with Titan and the tools of development

# Debian splits ensurepip off: without python3-venv the environment is made without pip and filled by the system's pip.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || $(PYTHON) -m venv --clear --without-pip $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml
	@if $(BIN)/python -m pip --version >/dev/null 2>&1; then $(BIN)/python -m pip install -q --disable-pip-version-check -e .; \
	else $(PYTHON) -m pip --python $(BIN)/python install -q --disable-pip-version-check -e .; fi
	@touch $@

$(STAMP): $(BIN)/python pyproject.toml
	@if $(BIN)/python -m pip --version >/dev/null 2>&1; then $(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'; \
	else $(PYTHON) -m pip --python $(BIN)/python install -q --disable-pip-version-check -e '.[dev]'; fi
	@touch $@ $(VENV)/.demo

$(VENV)/.bench: $(STAMP)
	@sh benchmarks/packages.sh $(BIN)/python $(PYTHON)
	@touch $@

packages: ## Debian packages that the tests use
	@sh tests/packages.sh

clean: ## remove .venv and all that was built
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.json
