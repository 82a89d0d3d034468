# Each target makes ready what it needs (see tools/bootstrap) and then does its job.
# To choose: make PYTHON=/opt/python3.13/bin/python3 ...; make test PYTESTFLAGS="-k stun -x"
# make lab A=port-restricted B=symmetric-random
# make natmatrix MATRIXFLAGS="--namespaces --runs 5"
# make bench BENCHFLAGS="--links nic --only vnet,wireguard-go"
# make fuzz FUZZFLAGS="--target stun --seconds 60"

# From what was compiled before programs start sooner, and take less memory.
export PYTHONDONTWRITEBYTECODE :=

BIN := .venv/bin
# Most of the time tests wait: three of their files run at once, as vnet/test/distribution.py says.  WORKERS= runs one after the other.
WORKERS ?= --numprocesses=3 --dist=loadfile
PYTESTFLAGS ?=
FUZZFLAGS ?=
BULKFLAGS ?=
MATRIXFLAGS ?=
BENCHFLAGS ?=

.PHONY: help run demo lab test units check check-ruff check-format check-mypy check-news check-docs bench bench-idle bench-profile performance bench-members bench-relay bench-relayed natmatrix soak bulk fuzz docs clean

help:
	@sed -n 's/^\([a-z-]*\):.*## /\1 - /p' Makefile

run: ready-run ## a mediator, this computer's node and a network
	@$(BIN)/python -m vnet.run

demo: ready-demo ## two homes behind NATs on this one machine
	@$(BIN)/python -m vnet.demo

lab: ready-lab ## two nodes behind NATs of kinds A and B, and a shell
	@$(BIN)/python -m vnet.test.lab "$(A)" "$(B)"

test: ready-test ## all tests; those in namespaces need root
	@$(BIN)/python -m pytest $(WORKERS) $(PYTESTFLAGS)

units: ready-units ## the tests that need neither root nor other programs
	@$(BIN)/python -m pytest --ignore=vnet/test/priv $(PYTESTFLAGS)

check: check-ruff check-format check-mypy check-news check-docs ## style, types, news fragments, docstrings

check-ruff: ready-check
	@$(BIN)/ruff check .

check-format: ready-check
	@$(BIN)/ruff format --check .

check-mypy: ready-check
	@$(BIN)/mypy

check-news: ready-check
	@$(BIN)/towncrier build --draft >/dev/null

check-docs: ready-check
	@$(BIN)/python tools/checkdocs.py

bench: ready-bench ## throughput and latency beside wireguard-go, fastd, tinc, OpenVPN and the bare link
	@$(BIN)/python bench/tunnel.py $(BENCHFLAGS)

bench-idle: ready-bench ## memory and processor time of a node with one idle peer, and with a thousand
	@$(BIN)/python bench/idle.py $(BENCHFLAGS)

bench-profile: ready-bench-profile ## where the time goes in a node, and what the parts cost
	@$(BIN)/python bench/primitives.py
	@$(BIN)/python bench/hotspots.py $(BENCHFLAGS)

performance: ready-bench-profile ## all of that, into docs/performance.md; half an hour
	@$(BIN)/python bench/primitives.py --document docs/performance.md
	@$(BIN)/python bench/hotspots.py --document docs/performance.md
	@$(BIN)/python bench/hotspots.py --small --document docs/performance.md
	@$(BIN)/python bench/idle.py --document docs/performance.md
	@$(BIN)/python bench/tunnel.py --links veth,nic,wire --only all --document docs/performance.md

bench-members: ready-bench-members ## what a network of 2,000 costs one of its members
	@$(BIN)/python bench/members.py $(BENCHFLAGS)

bench-relayed: ready-bench ## the tunnel through a relay, over UDP, TCP and TLS, beside the direct one
	@$(BIN)/python bench/relayed.py

bench-relay: ready-bench-relay ## the relay's throughput, latency and memory beside coturn
	@$(BIN)/python bench/relay.py

natmatrix: ready-natmatrix$(if $(PEERS),-peers) ## which pairs of NATs get a direct path; PEERS=1: other programs too
	@PYTHONHASHSEED=0 $(BIN)/python bench/natmatrix.py $(if $(PEERS),--namespaces --peers) $(MATRIXFLAGS)

soak: ready-test ## ten minutes of traffic between two homes, with no lost connection
	@$(BIN)/python -m vnet.test.soak

bulk: ready-test ## a gigabyte of TCP over 1 % loss with each set of offloads, checked by SHA-256
	@$(BIN)/python -m vnet.test.bulk $(BULKFLAGS)

fuzz: ready-fuzz ## two million inputs for each decoder
	@$(BIN)/python -m vnet.test.fuzz $(FUZZFLAGS)

docs: ready-docs ## the API reference, in apidocs/
	@$(BIN)/pydoctor

clean: ## all that was made here, but not the state of a node
	rm -rf .venv .programs build dist apidocs *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz _trial_temp*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f twisted/plugins/dropin.cache

.PHONY: $(addprefix ready-,run demo lab test units check bench bench-profile bench-members bench-relay natmatrix natmatrix-peers fuzz docs)
$(addprefix ready-,run demo lab test units check bench bench-profile bench-members bench-relay natmatrix natmatrix-peers fuzz docs):
	@tools/bootstrap $(@:ready-%=%)
