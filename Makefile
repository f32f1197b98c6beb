# make report | rescan | test (test-workflow, test-library, test-contracts) | test-slow | test-properties | lint | bench |
# evidence | schemas | lock | clean
# One environment for everything, from the hash-pinned lock; no conda and no GPU needed.

UV := .boot/bin/uv
PYTHON := .venv/bin/python
CORES ?= $(shell nproc)
STUDY ?= config.yaml
EVIDENCE ?= .evidence

.PHONY: report rescan test test-workflow test-library test-contracts test-slow test-properties lint bench evidence lock schemas clean

report: .venv/ready
	.venv/bin/snakemake --configfile $(STUDY) --cores $(CORES) -- results/report.html

rescan: .venv/ready
	.venv/bin/snakemake --configfile $(STUDY) --cores $(CORES) --forcerun download_dataset -- rescan

# Three parts, two at a time, each shown when it has ended: 40 minutes one after the other.
test: .venv/ready .venv-jax/ready
	$(MAKE) --no-print-directory -j 2 --output-sync=target test-workflow test-library test-contracts

test-library: .venv/ready .venv-jax/ready
	$(PYTHON) -m pytest tests/library

test-contracts: .venv/ready .venv-jax/ready
	$(PYTHON) -m pytest tests/contracts

test-workflow: .venv/ready
	$(PYTHON) -m pytest tests/workflow tests/browser

test-slow: .venv/ready .venv-jax/ready
	$(PYTHON) -m pytest -m slow

# Other examples than `make test` tries, and more of them.
test-properties: .venv/ready
	$(PYTHON) -m pytest tests -m "hypothesis and not slow" --hypothesis-profile searching

lint: .venv/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/snakefmt --check Snakefile rules
	.venv/bin/snakemake --lint

bench: .venv/ready
	for script in benchmarks/[a-z]*.py; do $(PYTHON) $$script --json benchmarks/results/$$(basename $$script .py).json || exit 1; done
	$(PYTHON) benchmarks/_results_page.py

# Hours; a run that was broken off goes on where it was.
evidence: .venv/ready
	$(PYTHON) benchmarks/evidence/methods.py --work $(EVIDENCE)

schemas: .venv/ready
	$(PYTHON) -m scanloom.config_reference

lock: $(UV)
	$(UV) pip compile --quiet --generate-hashes --no-header --no-annotate --python-version 3.11 --group dev pyproject.toml -o requirements.lock
	$(UV) pip compile --quiet --generate-hashes --no-header --no-annotate --python-version 3.11 --group jax-only -c requirements.lock -o requirements-jax.lock

clean:
	rm -rf results logs .snakemake

# Bytecode is compiled at install: every step is a new process, and parsing TensorFlow afresh costs 10 s each time.
.venv/ready: requirements.lock pyproject.toml | $(UV)
	test -x $(PYTHON) || $(UV) venv --quiet .venv
	$(UV) pip sync --quiet --python $(PYTHON) --require-hashes --compile-bytecode requirements.lock
	$(UV) pip install --quiet --python $(PYTHON) --no-deps --no-build-isolation --editable .
	touch $@

.venv-jax/ready: requirements-jax.lock | $(UV)
	test -x .venv-jax/bin/python || $(UV) venv --quiet .venv-jax
	$(UV) pip sync --quiet --python .venv-jax/bin/python --require-hashes --compile-bytecode requirements-jax.lock
	touch $@

$(UV):
	python3 -m venv .boot
	.boot/bin/pip install --quiet --disable-pip-version-check uv==0.13.8
