PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-fast lint clean

# From a clone to the main job on real data, in one command; see README.md.
demo: $(STAMP)
	@$(BIN)/tosg demo

test: $(STAMP)
	@scripts/check

test-fast: $(STAMP)
	@$(BIN)/python -m pytest -m "not server and not slow"

lint: $(STAMP)
	@scripts/check lint

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "tosg-graph needs Python 3.11 or later; this is %s. Run: make PYTHON=python3.11" % sys.version.split()[0])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV); PyTorch is large, so the first time takes some minutes."
	@$(BIN)/python -m pip install --disable-pip-version-check -e '.[dev]'
	@touch $(STAMP)

clean:
	rm -rf $(VENV) build dist *.egg-info
