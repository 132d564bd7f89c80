# Run from the repository's root; `make` alone lists the targets. Needs Python 3.10 to 3.14 and make, nothing else:
# the first target to need .venv makes it. Another Python: `make PYTHON=python3.12 ...`.

PYTHON ?= python3
PY     := .venv/bin/python
READY  := .venv/stamp
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

FIELDNODE = $(PY) -m tools.cli
FOR = $(or $(NODE),$(error name a node file: NODE=)) $(if $(PORT),--port $(PORT))

.DEFAULT_GOAL := help
.PHONY: help sim faults proof sweep report pictures cloud flash provision deploy backup restore erase selftest console \
	test torture lint coverage bench build docs clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt tools/setup_env.py
	@$(PYTHON) tools/setup_env.py

SIM = $(if $(NODE),--node $(NODE)) $(if $(NODES),--nodes $(NODES)) $(if $(DAYS),--days $(DAYS)) \
	$(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults $(FAULTS)) $(if $(KILLS),--kills $(KILLS))

sim: $(READY) ## simulate nodes against the real cloud end: NODE=nodes/greenhouse.toml NODES=2 DAYS=2 SEED=1 FAULTS=default
	$(PY) -m host_sim run $(SIM)

faults: $(READY) ## print what would go wrong in such a run, and when: FAULTS=none|default|all|proof|file.toml
	$(PY) -m host_sim faults $(SIM)

proof: $(READY) ## four nodes, seven days, every fault on each node, two days without a network
	$(PY) -m host_sim run --nodes 4 --days 7 --faults proof --strict --folder build/proof $(if $(SEED),--seed $(SEED))

sweep: $(READY) ## every fault under many seeds, a ledger each: SEEDS=20
	$(PY) -m host_sim sweep $(if $(SEEDS),--seeds $(SEEDS))

report: $(READY) ## make build/sim/report.html anew from the files of the last run
	$(PY) -m host_sim.report

pictures: $(READY) ## make docs/pictures anew: a report in both themes, the live view, a session; needs chromium
	$(PY) -m tools.pictures
	$(PY) -m tools.session

# Where nodes call and where the page is served; ADDR, needed the first time, holds the names by which nodes call.
cloud: DATA ?= cloud-data
cloud: MQTT_PORT ?= 8883
cloud: LISTEN ?= 0.0.0.0
cloud: WEB  ?= 127.0.0.1:8080

cloud: $(READY) ## run the cloud end for real boards: ADDR="192.168.1.10 cloud.lan" DATA=cloud-data
	$(PY) -m cloud serve --guide --data $(DATA) --listen $(LISTEN):$(MQTT_PORT) --web $(WEB) $(foreach name,$(ADDR),--name $(name))

flash: $(READY) ## firmware and node onto the board of NODE: NODE=nodes/greenhouse.toml PORT=/dev/ttyUSB0 FW=image (both optional)
	$(FIELDNODE) flash $(FOR) $(if $(FW),--fw $(FW)) $(ARGS)

provision: $(READY) ## make NODE known to the cloud end in DATA=cloud-data, and keep its keys beside the node file
	$(FIELDNODE) provision $(or $(NODE),$(error name a node file: NODE=)) --data $(or $(DATA),cloud-data)

deploy: $(READY) ## code, settings and identity onto the board of NODE: only what changed; ARGS=--dry-run only tells
	$(FIELDNODE) deploy $(FOR) $(ARGS)

backup: $(READY) ## read the flash of NODE's board into FILE
	$(FIELDNODE) backup $(FOR) $(or $(FILE),$(error name a file: FILE=))

restore: $(READY) ## bring NODE's board back to what FILE holds, a backup of it; asks first
	$(FIELDNODE) restore $(FOR) $(or $(FILE),$(error name a file: FILE=)) $(ARGS)

erase: $(READY) ## erase the board of NODE, readings not yet sent included; asks first
	$(FIELDNODE) erase $(FOR) $(ARGS)

selftest: $(READY) ## check on the board itself that its ports keep their contract: PORT=
	$(FIELDNODE) selftest $(if $(PORT),--port $(PORT))

console: $(READY) ## talk to the node at PORT=/dev/ttyUSB0, or the only one; Ctrl-] leaves
	$(FIELDNODE) console $(if $(PORT),--port $(PORT))

test: $(READY) ## run every test, two files at a time; ARGS="-k codec" goes to pytest
	$(PY) -m pytest -n 2 --dist loadfile $(ARGS)

torture: $(READY) ## every flipped bit and cut of the ring, every meeting of node and cloud, a million frames: MINUTES=30 each; again to go on
	@worst=0; \
	$(PY) -m tests.powercut || worst=$$?; \
	$(PY) -m tools.torture $(if $(MINUTES),--minutes $(MINUTES)) || worst=$$?; \
	$(PY) -m tests.link || worst=$$?; \
	$(PY) -m tools.linktorture $(if $(MINUTES),--minutes $(MINUTES)) || worst=$$?; \
	exit $$worst

lint: $(READY) ## ruff, then pyright over the host's code and over the device's
	$(PY) -m ruff check
	$(PY) -m pyright
	$(PY) -m pyright --project tools/pyright-device.json

coverage: $(READY) ## which lines of the device's code its own tests reach; ARGS=--json for a program
	$(PY) -m tools.coverage $(ARGS)

bench: $(READY) ## measure, into build/bench.json
	$(PY) -m tools.bench

build: $(READY) ## compile the device's code to build/mpy
	$(PY) -m tools.build

docs: $(READY) ## regenerate the pages that are made from code
	$(PY) -m tools.settings_page
	$(PY) -m tools.console_page

clean: ## remove what was built and all caches (.venv stays)
	rm -rf build .pytest_cache .ruff_cache .hypothesis
	find . -path ./.venv -prune -o -path ./.git -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf
