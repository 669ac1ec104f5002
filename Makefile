# The two commands: "make demo" to try it, "make test" to test it. Both install what they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help demo test lint format latency system clean

help:
	@echo "make demo    a private RabbitMQ, a sample model and the gateway, with a curl line to try; Ctrl-C ends it"
	@echo "make test    all tests, against a private RabbitMQ"
	@echo "make latency how long one request at rest takes, with a model that answers at once"
	@echo "make lint    ruff and mypy"
	@echo "make format  rewrite the code in ruff's format"
	@echo "make clean   remove what these commands made here"

demo: $(INSTALLED) system
	@$(BIN)/python -m devtools.demo

test: $(INSTALLED) system
	$(BIN)/trial $(TRIAL_OPTIONS) tests

latency: $(INSTALLED) system
	@$(BIN)/python -m benchmarks.latency

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

system:
	@sh devtools/system.sh rabbitmq-server curl

$(INSTALLED): setup.py constraints.txt devtools/virtualenv.sh
	@sh devtools/virtualenv.sh "$(PYTHON)" "$(VENV)"
	@touch $@

clean:
	rm -rf $(VENV) .demo _trial_temp* build *.egg-info .mypy_cache .ruff_cache .hypothesis
