# The two commands: "make demo" to try it, "make test" to test it. Both install what they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The program; the program and what its tests need.
INSTALLED := $(VENV)/.installed
TOOLS := $(VENV)/.tools
# A server of others that tests call.
MLSERVER := .venv-mlserver/.installed

.PHONY: help demo dist documents image-requirements test unit test-versions test-debian13 soak soak-results outages fuzz lint format latency bench bench-parking slow screenshots system clean

help:
	@echo "make demo    the gateway with an embedded broker and a sample model, and a curl line to try; Ctrl-C ends it"
	@echo "             (with your own broker: make demo RMQ_URL=amqp://…)"
	@echo "make test    all tests, several at a time, against private RabbitMQ nodes"
	@echo "make unit    the unit tests: seconds, without network and RabbitMQ"
	@echo "make test-versions  the unit tests with the lowest and the newest versions that setup.py allows"
	@echo "make test-debian13  the tests in Debian 13, with its Python and RabbitMQ; needs root (TESTS=\"tests.contract …\": some)"
	@echo "make soak    100,000 messages with a fault every few seconds (SOAK_MESSAGES, SOAK_SECONDS, SOAK_SEED)"
	@echo "make soak-results  100,000 kept answers on each store, with a fault every 10 s (RESULTS_SOAK_STORE=sqlite or"
	@echo "             postgresql, RESULTS_SOAK_MESSAGES, RESULTS_SOAK_SECONDS, RESULTS_SOAK_EVERY, RESULTS_SOAK_SEED)"
	@echo "make outages ten minutes without the model (OUTAGE_SECONDS), models that refuse calls, too many callers, a frozen broker: figures"
	@echo "make latency time of one request on an idle gateway, with a model that answers at once"
	@echo "make bench   throughput, CPU and memory, compared with another program for the same job (BENCH_OPTIONS=--quick)"
	@echo "make bench-parking  of these, only looks at 100,000 parked messages, replays, and requests beside them"
	@echo "make slow    latency of a normal client among 200 slow ones of each kind (SECONDS for each kind, default 60)"
	@echo "make fuzz    the property tests for longer than in make test (FUZZ_SECONDS, default 600)"
	@echo "make screenshots  the pictures of docs/workbench.md, from a demo in Chromium"
	@echo "make lint    ruff and mypy"
	@echo "make dist    source distribution, wheel, and its bill of materials (CycloneDX), in dist/"
	@echo "make documents  write docs/openapi.json and docs/schemas/"
	@echo "make image-requirements  write image-requirements.txt anew, with the versions of constraints.txt and their hashes"
	@echo "make format  rewrite the code in ruff's format"
	@echo "make clean   remove all files that these commands have made here"

demo: $(INSTALLED)
	@$(BIN)/twistd -n --pidfile= provider-gateway --demo

# The environment has what the image installs: the bill of materials is of that, and not of what tests need.
dist: $(TOOLS)
	@rm -rf dist .venv-dist
	@$(BIN)/python -m build --outdir dist . >/dev/null
	@"$(PYTHON)" -m venv --without-pip .venv-dist
	@wheel=$$(ls dist/*.whl) && $(BIN)/python -m pip --python .venv-dist/bin/python install --quiet \
	    --disable-pip-version-check --constraint constraints.txt "$$wheel[postgresql,grpc]"
	@rm .venv-dist/lib/python3.*/site-packages/provider_gateway-*.dist-info/direct_url.json # a path of this machine
	@[ -x .venv-sbom/bin/cyclonedx-py ] || { "$(PYTHON)" -m venv .venv-sbom && \
	    .venv-sbom/bin/python -m pip install --quiet --disable-pip-version-check 'cyclonedx-bom>=7.5,<8'; }
	@wheel=$$(ls dist/*.whl) && .venv-sbom/bin/cyclonedx-py environment .venv-dist/bin/python --output-reproducible \
	    --output-file "$${wheel%-py3-none-any.whl}.cdx.json"
	@ls dist

# In an empty folder and without variables, so that no setting of this machine counts.
documents: $(TOOLS)
	@folder=$$(mktemp -d) && cd "$$folder" && env -i RESULT_STORE=sqlite:///var/results.db \
	    HTTP_ACCESS="$(CURDIR)/examples/access.yaml" "$(CURDIR)/$(BIN)/twistd" -n \
	    provider-gateway --queues "$(CURDIR)/examples/queue_config.yaml" --openapi >"$(CURDIR)/docs/openapi.json"; \
	    status=$$?; rm -r "$$folder"; exit $$status
	@$(BIN)/python -m devtools.file_schemas docs/schemas

test: $(TOOLS) $(MLSERVER) system
	@$(BIN)/python -m devtools.run_tests $(TRIAL_OPTIONS)

unit: $(TOOLS)
	@$(BIN)/trial $(TRIAL_OPTIONS) tests.unit

# Without test_cost: its figures are those of the versions in constraints.txt.
VERSION_TESTS = $(filter-out tests.unit.test_cost,$(subst /,.,$(patsubst %/__init__,%,$(basename $(wildcard tests/unit/*/__init__.py tests/unit/test_*.py)))))
test-versions: .venv-lowest/.installed .venv-newest/.installed
	@status=0; for each in lowest newest; do echo "Unit tests with the $$each versions:"; \
	    .venv-$$each/bin/trial $(TRIAL_OPTIONS) $(VERSION_TESTS) || status=1; done; exit $$status

test-debian13: $(TOOLS)
	@$(BIN)/python -m devtools.debian13 $(if $(TESTS),--tests "$(TESTS)") $(TRIAL_OPTIONS)

soak: export SOAK_MESSAGES ?= 100000
soak: export SOAK_SECONDS ?= 1800
soak: $(TOOLS) system
	$(BIN)/trial $(TRIAL_OPTIONS) tests.faults.test_soak

soak-results: export RESULTS_SOAK_MESSAGES ?= 100000
soak-results: export RESULTS_SOAK_SECONDS ?= 1800
soak-results: export RESULTS_SOAK_EVERY ?= 10
soak-results: $(TOOLS) system
	$(BIN)/trial $(TRIAL_OPTIONS) tests.faults.test_results_soak

outages: $(TOOLS) system
	$(BIN)/trial $(TRIAL_OPTIONS) tests.faults.outages tests.faults.shedding tests.faults.overload

latency: $(TOOLS) system
	@$(BIN)/python -m benchmarks.latency

bench: $(TOOLS) system
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt matplotlib
	@$(BIN)/python -m benchmarks.bench $(BENCH_OPTIONS)

bench-parking: BENCH_OPTIONS += --question parking
bench-parking: bench

slow: $(TOOLS) system
	@sh devtools/system.sh stunnel4 slowhttptest
	@$(BIN)/python -m benchmarks.slow_clients

screenshots: $(TOOLS)
	@sh devtools/system.sh chromium chromium-driver
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt pillow
	@$(BIN)/python -m devtools.screenshots

fuzz: export FUZZ_SECONDS ?= 600
fuzz: $(TOOLS)
	$(BIN)/trial $(TRIAL_OPTIONS) tests.fuzz

lint: $(TOOLS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(TOOLS)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Also setuptools, which makes our own wheel.
image-requirements: $(TOOLS)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@echo setuptools | $(BIN)/uv pip compile --quiet setup.py - --extra postgresql --extra grpc --constraint constraints.txt \
	    --generate-hashes --universal --python-version 3.11 --no-annotate --upgrade --output-file image-requirements.txt \
	    --custom-compile-command "make image-requirements"

system:
	@sh devtools/system.sh rabbitmq-server postgresql pgbouncer curl gcc libc6-dev chromium chromium-driver libnss3-tools npm

$(INSTALLED): setup.py constraints.txt devtools/virtualenv.sh
	@sh devtools/virtualenv.sh "$(PYTHON)" "$(VENV)"
	@touch $@

$(TOOLS): setup.py constraints.txt devtools/virtualenv.sh
	@sh devtools/virtualenv.sh "$(PYTHON)" "$(VENV)" dev
	@touch $@ $(INSTALLED)

.venv-lowest/.installed .venv-newest/.installed: setup.py devtools/virtualenv.sh devtools/lowest_versions.py
	@rm -rf $(@D)
	@mkdir $(@D)
	@if [ $(@D) = .venv-lowest ]; then "$(PYTHON)" -m devtools.lowest_versions; fi >$(@D)/constraints.txt
	@sh devtools/virtualenv.sh "$(PYTHON)" $(@D) postgresql,grpc,collector $(@D)/constraints.txt
	@touch $@

$(MLSERVER): tests/counterparts/mlserver-requirements.txt
	@rm -rf $(@D)
	@echo "Installing MLServer into $(@D), for tests (up to two minutes the first time)"
	@"$(PYTHON)" -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

clean:
	rm -rf $(VENV) $(dir $(MLSERVER)) .venv-lowest .venv-newest .venv-dist .venv-sbom .demo _trial_temp* build dist *.egg-info .mypy_cache .ruff_cache .hypothesis
