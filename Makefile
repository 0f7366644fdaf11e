# `make help` lists what can be done. Stamp files in .venv make every target cheap the second time.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PORT ?= 8501
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && { echo $$p; break; }; done)

VENV := .venv
# Tests wait for browsers and other processes, so one more than there are cores.
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || sysctl -n hw.ncpu); echo $$((n < 3 ? n + 1 : 4)))
PY := $(VENV)/bin/python
BROWSER_NAMES := chromium chromium-browser google-chrome

# Matrices here are small: threads gain nothing, and with busy cores they made a fit take ten times as long.
export OPENBLAS_NUM_THREADS ?= 1

# $(call install,NAME): install what requirements-NAME.txt asks for, or requirements.txt for no NAME, by its hashes.
install = $(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
  --requirement locks/requirements$(addprefix -,$(1)).txt

# $(call apt,PACKAGES,what needs them): install Debian packages as root or by sudo, or say what to do.
define apt
{ as_root=; [ "$$(id -u)" = 0 ] || as_root="sudo -n"; \
  if command -v apt-get >/dev/null && $$as_root true 2>/dev/null; then \
    $$as_root apt-get update -qq && $$as_root env DEBIAN_FRONTEND=noninteractive \
      apt-get install -y -qq --no-install-recommends $(1) >/dev/null; \
  else echo "$(2) needs Debian packages: run 'sudo apt-get install $(1)' and try again." >&2; exit 1; fi; }
endef

# Models that can be built are served, so this does not fail.
build = $(PY) -m training.export --all || echo "Models that cannot be built are left out; the others are served." >&2

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: env ## Start the dashboard on http://localhost:8501 (PORT=... for another port)
	@$(PY) -m dermlens.server.port $(PORT)
	@$(build)
	$(PY) -m streamlit run Home.py --server.port $(PORT)

.PHONY: api
api: env ## Start the HTTP API alone on http://localhost:8502 (docs/api.md)
	$(call install,api)
	@$(build)
	$(PY) -m dermlens.api serve

.PHONY: test
test: dev ## Lint, check types, run every test but the slow ones
	@$(MAKE) --no-print-directory lint & lint=$$!; \
	$(MAKE) --no-print-directory serving && \
	  { $(MAKE) --no-print-directory browser programs postgresql orthanc || [ "$${CI:-}" != true ]; }; ready=$$?; \
	wait $$lint && exit $$ready
	$(PY) -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: heic
heic: env ## Add the decoder of HEIC files, whose wheel is under the GPL
	$(call install,heic)

.PHONY: torch-test
torch-test: dev ## Install torch and run the tests that need it
	$(PY) -m pip install --quiet --disable-pip-version-check --requirement requirements-torch.txt # or a build for the CPU
	$(PY) -m pytest tests/training/test_torch_graph.py

.PHONY: cluster-test
cluster-test: dev ## Install Ray, and a server that speaks S3 beside it, and run the tests of cohorts and of S3
	$(call install,cluster)
	@[ -x $(VENV)/s3/bin/moto_server ] || $(PY) -m venv $(VENV)/s3
	$(VENV)/s3/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
	  --requirement locks/requirements-s3.txt
	DERMLENS_MOTO=$(VENV)/s3/bin/moto_server $(PY) -m pytest -m "slow or not slow" -o faulthandler_timeout=7200 \
	  tests/cohort tests/record/store/test_pictures.py tests/test_score.py

.PHONY: lint
lint: dev ## Check style, format and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

.PHONY: format
format: dev ## Put the code into its standard format
	$(PY) -m ruff check --fix-only .
	$(PY) -m ruff format .

.PHONY: bench
bench: dev serving ## Measure speed; each line is a ratio against its own baseline, with the limit it must keep
	$(PY) -m tests.bench

.PHONY: engines
engines: serving ## Compare engines and precisions, in an environment of their own (HAM10000_DIR; ENGINES="--write")
	test -d .venv-engines || $(PYTHON) -m venv .venv-engines
	.venv-engines/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
	  $(foreach name,requirements requirements-dev requirements-engines,--requirement locks/$(name).txt)
	.venv-engines/bin/python -m tests.bench.engines $(ENGINES)

.PHONY: quantise-test
quantise-test: dev ## Install what makes 8-bit serving files and run the tests that need it
	$(call install,quantise)
	$(PY) -m pytest tests/training/test_quantise.py

.PHONY: fuzz
fuzz: dev ## Read 100,000 mutated files of every format (FUZZ="--files 1000 --format PNG" for fewer)
	$(PY) -m tests.fuzz $(FUZZ)

.PHONY: decoders
decoders: dev browser programs ## Compare what we show of every kind of file with what independent programs show
	$(PY) -m tests.decoders

.PHONY: reliability
reliability: dev serving browser ## Try everything hostile, broken and crowded (hours; RELIABILITY=--quick for minutes)
	$(PY) -m tests.reliability $(RELIABILITY)

.PHONY: screenshots
screenshots: dev serving browser ## Photograph every page in both themes into docs/screenshots/
	$(PY) -m tests.browser.screenshots

.PHONY: audit
audit: dev ## Look every pinned package up in the list of known vulnerabilities
	$(PY) -m tests.supply.audit

.PHONY: sbom
sbom: dev ## Write what is installed: dist/sbom.cdx.json (CycloneDX) and docs/licences.md
	mkdir -p dist && $(PY) -m cyclonedx_py environment --output-reproducible --output-file dist/sbom.cdx.json $(PY)
	$(PY) -m tests.supply.licences

.PHONY: serving
serving: env ## Build the serving files of every model in models/ (only what has changed)
	$(PY) -m training.export --all

.PHONY: browser
browser: dev ## Install Debian's Chromium and what Playwright needs to drive it
	@if $(PY) -m playwright --version >/dev/null 2>&1; then \
	  for name in "$${DERMLENS_BROWSER:-}" $(BROWSER_NAMES); do command -v "$$name" >/dev/null && exit 0; done; fi; \
	$(call apt,chromium libatomic1,Testing in a real browser)

.PHONY: programs
programs: ## Install the programs that decoders are compared with
	@for name in convert vipsthumbnail heif-convert dcmj2pnm cjpeg; do command -v $$name >/dev/null || missing=1; done; \
	[ -z "$${missing:-}" ] || \
	$(call apt,imagemagick libvips-tools libheif-examples dcmtk libjpeg-turbo-progs,Comparing with independent decoders)

.PHONY: postgresql
postgresql: dev ## Install Debian's PostgreSQL, of which the tests start a server of their own
	@$(PY) -c 'import sys; from tests.record.postgresql import binaries; sys.exit(binaries() is None)' || \
	$(call apt,postgresql,Testing the record on PostgreSQL)

.PHONY: record
record: env ## Add what keeping a record needs (README, "Keeping a record")
	$(call install,record)

PANGO := libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0

.PHONY: pdf
pdf: env ## Add what the case report as PDF needs: WeasyPrint, and Debian's Pango
	@$(PY) -c 'import sys; from dermlens.interchange.pdf import libraries; sys.exit(not libraries())' || \
	$(call apt,$(PANGO),The report as PDF)
	$(call install,pdf)

.PHONY: exchange
exchange: env ## Add what DICOM objects, a PACS and FHIR need (docs/interchange.md)
	$(call install,exchange)

.PHONY: orthanc
orthanc: dev ## Install Debian's Orthanc, of which the tests start a server of their own, and what the PDF needs
	@{ [ -x /usr/sbin/Orthanc ] && [ -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so ] && \
	  command -v pdfinfo >/dev/null && \
	  $(PY) -c 'import sys; from dermlens.interchange.pdf import libraries; sys.exit(not libraries())'; } || \
	$(call apt,orthanc orthanc-dicomweb poppler-utils $(PANGO),Testing what leaves)

.PHONY: env dev
env: $(VENV)/run.stamp ## Make .venv with what is needed to run
dev: $(VENV)/dev.stamp ## Add what is needed to test

$(VENV)/venv.stamp: locks/requirements-pip.txt
	@[ -n "$(PYTHON)" ] || { echo "Dermlens needs Python 3.11, 3.12 or 3.13 and found none. Install one, or name it:" \
	  "make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(call apt,python3-venv,A virtual environment)
	$(PYTHON) -m venv --clear $(VENV)
	$(call install,pip)
	@touch $@

$(VENV)/run.stamp: $(VENV)/venv.stamp locks/requirements.txt
	$(call install,)
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp locks/requirements-dev.txt
	$(call install,dev)
	@touch $@

# Those whose packages are not in constraints.txt, as they are too large for everybody.
UNLOCKED := $(patsubst %,requirements-%.txt,torch cluster engines quantise pip s3)
COMPILE := $(PY) -m uv pip compile --quiet --universal --python-version 3.11 --no-header

.PHONY: lock
lock: dev ## After a change of requirements*.txt: pin again everything that they bring along, with hashes
	rm -rf locks/new && mkdir -p locks/new && cp requirements*.txt constraints.txt locks/new
	cd locks/new && sed -i '/^-c constraints/d' requirements*.txt
	$(COMPILE) --no-annotate --output-file locks/new/constraints.txt \
	  $(addprefix locks/new/,$(filter-out $(UNLOCKED),$(wildcard requirements*.txt)))
	mv locks/new/constraints.txt constraints.txt && rm locks/new/*
	for file in requirements*.txt; do \
	  [ ! -e locks/$$file ] || cp locks/$$file locks/new; \
	  beside=; [ $$file = requirements-s3.txt ] || beside="--constraints constraints.txt"; \
	  $(COMPILE) --generate-hashes --only-binary :all: $$beside --output-file locks/new/$$file $$file || exit 1; \
	  cmp -s locks/new/$$file locks/$$file || cp locks/new/$$file locks; done # else all would be installed anew
	rm -r locks/new
	$(PY) -m tests.supply.platforms

.PHONY: clean
clean: ## Remove the environment, caches and built serving files (runs and models stay)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis models/*/build docs/screenshots
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
