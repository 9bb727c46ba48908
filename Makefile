# What each command does is in docs/operate.md. Everything lands in var/ (or FLYWHEEL_HOME), .venv/ and .venv-vllm/.
PYTHON ?= python3
INSTALL = $(PYTHON) -m flywheel.local.install
DEMO = .venv/bin/python -m flywheel.local.demo
STAGES = $(PYTHON) -m flywheel.local.stages

.PHONY: demo demo-turn test check screenshots bench-proxy bench-store bench-engine differential faults test-engine bench-annotations .python

.python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; $(PYTHON) is " + sys.version.split()[0])'

demo: .python
	@$(INSTALL) ports web engine model
	@exec $(DEMO) start

demo-turn: .python
	@$(INSTALL) web engine model
	@exec $(DEMO) turn $(TURN)

test: .python
	@$(STAGES) test

check: .python
	@$(STAGES) check

screenshots: .python
	@$(INSTALL) web engine model browser
	@exec $(DEMO) screenshots

bench-proxy: .python
	@$(INSTALL) web
	@exec .venv/bin/python -m bench.proxy $(if $(PEERS),--peers $(PEERS)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(ONLY),--only $(ONLY))

bench-engine: .python
	@$(INSTALL) web engine model
	@exec .venv/bin/python -m bench.engine $(BENCH)

differential: .python
	@$(INSTALL) web engine model
	@exec .venv/bin/python -m tests.differential $(if $(SHAPES),--shapes $(SHAPES))

faults: .python
	@$(INSTALL) web
	@exec .venv/bin/python -m tests.faults $(if $(KILLS),--kills $(KILLS)) $(if $(SEED),--seed $(SEED)) $(if $(BREAK),--break $(BREAK)) $(if $(ONLY),--only $(ONLY)) $(if $(REQUESTS),--requests $(REQUESTS))

bench-store: .python
	@$(INSTALL) web
	@exec .venv/bin/python -m bench.store $(if $(SIZES),--sizes $(SIZES)) $(if $(ONLY),--only $(ONLY)) $(if $(PROCESSES),--processes $(PROCESSES))

test-engine: .python
	@$(INSTALL) web engine model
	@exec .venv/bin/python -m tests.wheel.every_case

bench-annotations: .python
	@$(INSTALL) web engine model
	@exec .venv/bin/python -m bench.annotations $(if $(ITEMS),--items $(ITEMS))
