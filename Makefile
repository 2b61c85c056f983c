# make: set up .venv and run the main job. make help: the rest.
PYTHON ?= python3
BIN := .venv/bin
# where Python may not write bytecode, every process would compile all that it imports (PyTorch: 3 s)
RUN := PATH="$$PWD/$(BIN):$$PATH" PYTHONDONTWRITEBYTECODE=
# make PORTABLE=1: the same numbers on every x86-64 processor with AVX2, more slowly (docs/changing.md)
ifdef PORTABLE
export ATEN_CPU_CAPABILITY := avx2
export ONEDNN_MAX_CPU_ISA := AVX2
export MKL_CBWR := COMPATIBLE
endif
.DEFAULT_GOAL := all
.PHONY: all test test-long check benchmarks format lock plan pull prune record clean help

all: .venv/ready  ## run the study of params.yaml on all cores; print its tables
	@$(RUN) snakemake --cores all
	@$(RUN) entia results

# four processes for two cores: tests with SLURM mostly wait
TESTS := pytest -n 4 --dist loadgroup --no-loadscope-reorder

test: .venv/ready  ## run the tests, the whole pipeline, a kill and a SLURM cluster among them
	@$(RUN) $(TESTS) -m "not long"

test-long: .venv/ready  ## run the others: many kills, conda, experiments, a study on SLURM
	@$(RUN) $(TESTS) -m long

check: .venv/ready  ## formatting, lint, types, layers, workflow
	@$(RUN) ruff format --check src tests benchmarks workflow
	@$(RUN) ruff check src tests benchmarks workflow
	@$(RUN) basedpyright
	@$(RUN) lint-imports
	@$(RUN) snakefmt --check Snakefile workflow
	@$(RUN) snakemake --lint

format: .venv/ready  ## format all code
	@$(RUN) ruff format src tests benchmarks workflow
	@$(RUN) ruff check --fix-only src tests benchmarks workflow
	@$(RUN) snakefmt Snakefile workflow

benchmarks: .venv/ready  ## speed beside peers, on this machine: about half an hour (into reports/benchmarks/)
	@for each in losses views step training feeding readout startup sharing ratios; do \
	  echo "$$each:"; $(RUN) python benchmarks/$$each.py || exit 1; done

plan: .venv/ready  ## which cells each table and figure needs, and how many are done
	@$(RUN) entia plan

pull: .venv/ready  ## fetch all that others computed and pushed (docs/sharing.md), and check it
	@$(RUN) dvc pull
	@$(RUN) entia check

prune: .venv/ready  ## list what params.yaml no longer names in data/, and remove it if you say yes
	@$(RUN) entia prune

record: all  ## copy what make drew into recorded/, which git keeps (maintainers)
	@$(RUN) entia record

lock: .venv/ready  ## pin every version anew (maintainers)
	$(RUN) uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --upgrade -o requirements.lock
	$(RUN) python workflow/envs/from_lock.py

clean:  ## remove what a run leaves in logs/ and caches; never data or reports
	rm -rf logs .ruff_cache .pytest_cache .import_linter_cache .hypothesis

help:  ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /make \1\t/' | expand -t 16

# uv is taken from the lock itself, so that its hash is checked too; uv then checks all the others. An environment that is
# there is brought up to date in place: cleared, it would be pulled from under a study that runs.
.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "entia needs Python 3.11 or later; name one: make PYTHON=python3.12")'
	@echo "Setting up .venv (about 6 GB, PyTorch with CUDA inside; a minute or two) ..."
	@test "$$($(BIN)/python -V 2>&1)" = "$$($(PYTHON) -V 2>&1)" || $(PYTHON) -m venv --clear .venv
	@sed -n '/^uv==/,/^[^ ]*==/{/^uv==/p;/^ /p}' requirements.lock > .venv/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@
