PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-fast check format clean

# One command from a clone to the main job on real data; see README.md.
demo: $(STAMP)
	@$(BIN)/tosg demo

test: $(STAMP)
	@$(BIN)/python scripts/check --no-lint
	$(BIN)/python -m pytest

test-fast: $(STAMP)
	$(BIN)/python -m pytest -m "not server and not slow"

check: $(STAMP)
	@$(BIN)/python scripts/check

$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "tosg-graph needs Python 3.11 or later, this is %s. Set PYTHON=python3.11." % sys.version.split()[0])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (PyTorch is large; the first time takes a few minutes) ..."
	@$(BIN)/python -m pip install --progress-bar on --disable-pip-version-check -q -e '.[dev]'
	@touch $(STAMP)

clean:
	rm -rf $(VENV) build dist *.egg-info
