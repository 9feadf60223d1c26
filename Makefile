PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*/\1/p' Makefile)

demo: $(READY)  ## set up, build the sample graph's release, serve it on :8000
	$(BIN)/kgservice demo

test: $(READY)  ## the default tests: offline, on the CPU
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

check: $(READY)  ## lint, types, rooms
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

api: $(READY)  ## regenerate api/openapi.json
	$(BIN)/python -m kgservice.server.openapi

cards: $(READY)  ## regenerate models/*.md from committed results
	$(BIN)/python tools/cards.py

test-postgresql: $(READY)  ## what the service keeps, over a PostgreSQL server of its own
	$(BIN)/pip install --quiet 'psycopg[binary]>=3.2'
	tools/with_postgresql.sh $(BIN)/pytest tests/test_database.py tests/test_jobs.py tests/test_reviews.py -k postgresql

test-cluster: $(READY)  ## enrichment on a Ray cluster of two nodes on this machine
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/cluster

test-milvus: $(READY)  ## the index contract over a Milvus server, in an environment of its own: it brings another FAISS
	$(PYTHON) -m venv .venv-milvus && .venv-milvus/bin/pip install --quiet milvus-lite pymilvus
	$(BIN)/pip install --quiet 'pymilvus>=2.5'
	.venv-milvus/bin/milvus-lite server --data-dir var/milvus --host 127.0.0.1 --port 19530 & server=$$!; sleep 8; \
	KGSERVICE_MILVUS_URL=http://127.0.0.1:19530 $(BIN)/pytest tests/test_index.py; status=$$?; kill $$server; exit $$status

conformance: $(READY)  ## the W3C's RDF and SPARQL suites, OpenRefine, schemathesis; writes docs/conformance.md
	$(BIN)/python -m tests.conformance.table
	$(BIN)/pytest tests/conformance
	$(BIN)/python -m tests.conformance.openrefine
	$(BIN)/python -m tests.conformance.openapi

AXE := var/browser/node_modules/axe-core/axe.min.js

test-browser: $(READY) $(AXE)  ## the console in headless Chromium (Debian: chromium, chromium-driver), axe-core over its pages
	$(BIN)/pip install --disable-pip-version-check --quiet --constraint requirements.lock --editable '.[browser]'
	$(BIN)/python -m pytest tests/browser

screenshots: $(READY)  ## pictures of the console into docs/, from the release that `make demo` builds
	$(BIN)/pip install --disable-pip-version-check --quiet --constraint requirements.lock --editable '.[browser]'
	$(BIN)/python -m tests.browser.screenshots

$(AXE):
	npm install --silent --no-fund --no-audit --prefix var/browser axe-core@4.14.1 || echo "axe-core is not installed: its test is skipped"

bench: bench-train bench-ingest

bench-train: .venv-bench/.ready  ## training and evaluation beside PyKEEN and the GEMM floor
	.venv-bench/bin/python -m tests.bench.train

bench-ingest: .venv-bench/.ready  ## ingestion beside rdflib, pyoxigraph, msgspec and qwikidata
	.venv-bench/bin/python -m tests.bench.ingest

bench-qualifiers: $(READY)  ## statements with qualifiers: training beside its products, answers over HTTP
	$(BIN)/python -m tests.bench.qualifiers

bench-unseen: $(READY)  ## entities put after training, by the number of their facts
	$(BIN)/python -m tests.bench.unseen

bench-context: $(READY)  ## contexts a second; questions a second by all names, by a beam, by brute force
	$(BIN)/python -m tests.bench.context

bench-puts: $(READY)  ## entities put under load, the server killed in between
	$(BIN)/python -m tests.bench.puts

bench-types: $(READY)  ## which types entities have: by graph, by text, by both
	$(BIN)/python -m tests.bench.types

bench-deletion: $(READY)  ## the deletion test of explanations beside retraining without each fact
	$(BIN)/python -m tests.bench.deletion

bench-search: $(READY)  ## entity search over a million names: build, memory, speed, beside tantivy, SQLite and rapidfuzz
	$(BIN)/python -m tests.bench.search

bench-known-items: $(READY)  ## is an entity found by its own name, typed wrongly?
	$(BIN)/python -m tests.bench.known_items

bench-entity: $(READY)  ## DBpedia-Entity v2: a run ranked anew by names, and a collection searched
	$(BIN)/python -m tests.bench.entity

bench-sparql: $(READY)  ## the SPARQL store: making it, memory, queries, on the disk and in memory
	$(BIN)/python -m tests.bench.sparql

bench-nil: $(READY)  ## can a search tell that what is asked for is not there?
	$(BIN)/python -m tests.bench.nil

bench-serve: $(READY)  ## the service under load, beside a bare FastAPI answer and FAISS alone; takes wrk
	$(BIN)/python -m tests.bench.serve

bench-exact: $(READY)  ## exhaustive search over a million vectors, beside FAISS Flat
	$(BIN)/python -m tests.bench.exact

bench-enrich: .venv-bench/.ready  ## missing links found again, wrong ones found, a reviewer, speed, beside PyKEEN, a million entities
	.venv-bench/bin/python -m tests.bench.enrich

bench-names: $(READY)  ## names in ten languages, WikiKGE-10: published systems, votes and a combiner
	$(BIN)/python -m tests.bench.names_wikikge

bench-million: $(READY)  ## a graph of a million entities: memory, speed, does it learn
	$(BIN)/python -m tests.bench.million

$(READY): pyproject.toml requirements.lock
	$(PYTHON) -c "import sys; sys.exit('kgservice needs Python 3.11 or newer' if sys.version_info < (3, 11) else 0)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --quiet --constraint requirements.lock --editable '.[cpu,dev,ray]'
	touch $@

.venv-bench/.ready: pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --disable-pip-version-check --quiet --editable '.[cpu,bench]'
	touch $@

clean:
	rm -rf $(VENV) .venv-bench var build dist
