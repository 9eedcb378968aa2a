# usmbd: `make serve` and connect; `make test` to check a change.  See README.md.

SHELL := /bin/bash
PY := .venv/bin/python

.PHONY: help setup dev serve test kills faults test-peer torture torture-list coverage mutate parameters fuzz soak lab lab-shell lab-report \
	fsx lab-full lint format bench clean distclean

help:
	@sed -n 's/^#: //p' Makefile

#: make setup               the virtual environment with usmbd in it (.venv/bin/usmbd)
setup:
	@lab/setup.sh venv

#: make dev                 the same with the tools of developers (ruff, mypy, pytest)
dev:
	@lab/setup.sh dev

#: make serve [SHARE=dir] [PORT=n]   serve a folder in the foreground and say how to connect
serve: setup
	@exec $(PY) -m usmbd.mountd.cli.serve $(if $(SHARE),--share "$$SHARE") $(if $(PORT),--port '$(PORT)')

#: make test [ARGS=...]      every test, against a real server (as root it installs what the tests need)
test:
	@lab/setup.sh test
	@$(if $(ARGS),,lab/kernel/prepare.sh >/dev/null || [ $$? = 77 ])
	PYTHONDONTWRITEBYTECODE= $(PY) -m pytest $(or $(ARGS),$(together))

# A whole run has a process for each processor and one more, for they wait a good deal; each takes whole files of tests,
# in the order of collection, for the last only read results. Python keeps what it compiles, whatever the machine's
# settings say: to read 12,000 tests takes each of them 2.3 s of CPU, and 7.7 without.
together = -n $$(($$(nproc) < 4 ? $$(nproc) + 1 : 4)) --dist loadfile --no-loadscope-reorder

#: make kills [KILLS=1000]  kill the server's processes again and again: nothing of the dead may stay
kills:
	@lab/setup.sh test
	USMBD_KILLS=$(or $(KILLS),1000) USMBD_KILL_STRIDE=1 $(PY) -m pytest -rs -o timeout=0 tests/wire/test_kills.py \
		tests/wire/test_kills_of_mountd.py tests/unit/protocol/state/store/test_kills.py $(ARGS)

#: make faults [FAULTS=50]  in the lab: a client writes while its server dies and its cable is out, again and again
faults: lab
	USMBD_FAULTS=$(or $(FAULTS),50) $(PY) -m pytest -rs tests/vm/test_handles.py $(ARGS)

#: make test-peer [ARGS=...] the interoperability tests against Samba's smbd: are the tests right?
test-peer:
	@lab/setup.sh peer
	USMBD_TEST_PEER=smbd $(PY) -m pytest tests/interop tests/packet $(ARGS)

# smbtorture's program: of another Samba that Debian has (SMBTORTURE=4.25), or a path. And smbd, the same (SMBD=4.25).
smbtorture = $(if $(SMBTORTURE),program=$$(lab/smbtorture.sh $(SMBTORTURE)) && export SMBTORTURE=$$program &&) \
	$(if $(SMBD),runs=$$(lab/smbd.sh $(SMBD)) && export SMBD=$$runs &&)

#: make torture [ARGS='smb2.lock ...'] [SMBTORTURE=4.25]  Samba's smbtorture against usmbd: the score of each suite next to smbd's
torture:
	@lab/setup.sh test
	$(smbtorture) $(PY) tests/support/torture_scores.py $(ARGS)

#: make torture-list [ARGS=...] [SMBTORTURE=4.25]  the same, and write what came out into the list of tests/interop
torture-list:
	@lab/setup.sh test
	$(smbtorture) $(PY) tests/support/torture_scores.py --rewrite $(ARGS)

#: make coverage            the unit tests' coverage by module; fails below the floor of pyproject.toml
coverage: dev
	$(PY) -m pytest tests/unit --cov --cov-report=term:skip-covered $(ARGS)

#: make mutate [ARGS='--count 100 --seed 1 set_info']  do the unit tests notice single changes? 85 % have to be seen
mutate: dev
	$(PY) tests/mutation/mutate.py $(ARGS)

#: make parameters          does each parameter's test fail where nobody reads the parameter? (5 minutes)
parameters: dev
	$(PY) tests/mutation/parameters.py

#: make fuzz [MINUTES=1] [TARGET='rpc yaml'] [KEEP=1]  coverage-guided fuzzing of what reads foreign bytes
fuzz: dev
	$(PY) tests/fuzz/fuzz.py --minutes $(or $(MINUTES),1) $(if $(KEEP),--keep) $(TARGET)

#: make soak [MINUTES=20]    clients, kills, floods, a disk that hangs and one that is full, all at once (as root)
soak:
	@lab/setup.sh test
	$(PY) tests/soak/soak.py --minutes $(or $(MINUTES),20) $(ARGS)

#: make lab [KERNEL=6.12]   build the lab's kernel with cifs, ksmbd and SMB Direct, once (6 minutes on two cores)
lab:
	@lab/setup.sh lab
	@KERNEL='$(KERNEL)' lab/kernel/prepare.sh >/dev/null && echo 'the lab is ready: make lab-shell, make lab-report (lab/README.md)'

#: make lab-shell           a machine with soft-RoCE and usmbd serving, and a shell in it
lab-shell: lab
	@$(PY) lab/machines/shell.py

#: make lab-report [ARGS='--only seal --scenario tree --capture']   the scenarios on the kernel client's mounts, as a table
lab-report: lab
	$(PY) tests/vm/lab_run.py $(ARGS)

#: make fsx [MINUTES=60]     in the lab: random reads, writes, cuts and mappings of one file, and two machines on one under locks
fsx: lab
	$(PY) tests/vm/lab_run.py --only tcp-3.1.1 --scenario random_file --server usmbd --seconds $$(($(or $(MINUTES),60) * 60)) $(ARGS)
	USMBD_LOCKED_SECONDS=$$(($(or $(MINUTES),60) * 10)) $(PY) -m pytest -rs tests/vm/test_machines.py -k under_locks

#: make lab-full [ARGS=...]  the same with all work on every mount, on ksmbd too
lab-full: lab
	$(PY) tests/vm/lab_run.py --full $(ARGS)

#: make lint                ruff, mypy --strict and the import contracts
lint: dev
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

#: make format              let ruff mend what it can
format: dev
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

#: make bench [ARGS=...]     usmbd and smbd in turn on this machine, one row a measurement
bench:
	@lab/setup.sh peer
	$(PY) lab/bench/compare.py $(ARGS)

#: make clean               caches, builds and what the tests left (distclean: .venv as well)
clean:
	rm -rf run build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find transport protocol mountd tests lab -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv
