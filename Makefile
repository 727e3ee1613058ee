# What a contributor types. `make demo`, `make lint` and `make test` need a Debian 12 or 13 with Rust and install
# the rest themselves (scripts/install-packages says what, and where it leaves downloads).

CARGO ?= cargo
# Which part of the tests: make test-vm ONLY=refuses
ONLY ?=

# rustup's place, for shells that did not read its environment file.
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

.PHONY: build
build: ## the program, for use: target/release/farmgate
	$(CARGO) build --release --locked

.PHONY: demo
demo: ## boots a gateway in QEMU before your eyes (FIRMWARE=bios|uefi MEDIUM=cd|usb)
	@scripts/demo

.PHONY: test
test: ## what a change must pass; installs what is missing
	@scripts/install-packages test >/dev/null
	$(MAKE) lint
	$(MAKE) test-nix
	$(MAKE) test-unit
	$(MAKE) test-page
	$(MAKE) demo </dev/null
	$(MAKE) test-vm
	$(MAKE) test-appliance

.PHONY: deb
deb: ## the Debian package, for this release of Debian
	scripts/make-deb

.PHONY: lint
lint: deny ## how everything is written: Rust, its documentation and dependencies, shell, Python, Nix
	@scripts/install-packages lint
	scripts/lint
	scripts/try-hook
	python3 -m doctest vm-tests/common/console.py
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items --quiet

# NIXPKGS_TREE names a nixpkgs to evaluate the flake with.
.PHONY: test-nix
test-nix: ## parses the Nix files, and evaluates them where NIXPKGS_TREE is given
	@scripts/check-nix

# Advisories are not checked: their database is on the network, and a test must not fail because of
# what happened elsewhere.
.PHONY: deny
deny: ## licences, sources and banned packages of the dependencies (where cargo-deny is installed)
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		$(CARGO) deny --locked check bans licenses sources; \
	else \
		echo "skipped: deny.toml is not checked, there is no cargo-deny (cargo install cargo-deny --locked)"; \
	fi

.PHONY: test-unit
test-unit: ## the tests in Rust (ONLY=part-of-a-path)
	@tools="$$(scripts/install-packages test)" && eval "$$tools" && \
		PATH="$$PATH:$$(dirname "$$FARMGATE_NGINX"):/usr/sbin" $(CARGO) test --locked -- $(ONLY)

.PHONY: test-page
test-page: ## the status page in headless Chromium, with axe-core (ONLY=part-of-a-name)
	@tools="$$(scripts/install-packages test)" && eval "$$tools" && \
		$(CARGO) build --locked && tests/page/look $(ONLY)

.PHONY: test-vm
test-vm: ## the chain in QEMU, firmware to userspace (ONLY=part-of-a-name)
	$(CARGO) build --locked
	vm-tests/run $(ONLY)

.PHONY: test-agent
test-agent: ## what gateways run after the kernel, on good and bad days, in QEMU (ONLY=part-of-a-name)
	$(CARGO) build --locked --bin farmgate-agent
	vm-tests/run-agent $(ONLY)

.PHONY: agent
agent: ## the agent's initramfs for gateways: target/agent.cpio.zst
	scripts/make-agent target/agent.cpio.zst

# The package is made of the same build as the tests, unless FARMGATE_DEB names one.
.PHONY: test-appliance
test-appliance: ## a Debian boot host with systemd, nginx and our package, and its gateways (ONLY=part-of-a-name)
	@[ -n "$$FARMGATE_DEB" ] || scripts/make-deb --profile dev
	vm-tests/run-appliance $(ONLY)

.PHONY: test-cluster
test-cluster: ## a part of test-unit, with its times: a node and a host are killed while a fleet boots
	@tools="$$(scripts/install-packages test)" && eval "$$tools" && \
		$(CARGO) test --locked --test integration -- store::cluster --nocapture

# Which measures, and how often: make bench BENCH=kept,syscalls ROUNDS=3
BENCH ?=
ROUNDS ?= 5

.PHONY: bench
bench: ## farmgate beside nginx, Caddy, Apache and Flask (BENCH=kept,syscalls ROUNDS=3): docs/performance.md
	@tools="$$(scripts/install-packages test)" && eval "$$tools" && \
		BENCH="$(BENCH)" ROUNDS="$(ROUNDS)" $(CARGO) bench --locked --bench load

.PHONY: bench-iso
bench-iso: ## seals 500 gateways and measures it (IPXE_SOURCE=tree compiles iPXE once beside it)
	@tools="$$(scripts/install-packages demo)" && eval "$$tools" && \
		$(CARGO) bench --locked --bench iso

.PHONY: bench-store
bench-store: ## boots per second with a shared store against a local one (needs garage)
	@tools="$$(scripts/install-packages test)" && eval "$$tools" && \
		$(CARGO) bench --locked --bench store

FUZZ_SECONDS ?= 60

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZ_SECONDS each (needs cargo-fuzz and a C++ compiler)
	@$(CARGO) fuzz --version >/dev/null 2>&1 || { echo "cargo-fuzz is missing: cargo install cargo-fuzz --locked"; exit 1; }
	@for target in $$(RUSTC_BOOTSTRAP=1 $(CARGO) fuzz list); do \
		echo "== $$target"; \
		RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run $$target -- \
			-max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 || exit 1; \
	done

.PHONY: test-long
test-long: test test-agent fuzz ## every test there is, the fuzz targets, and pages of the documentation that fetch something
	FARMGATE_NETWORK_PAGES=1 FARMGATE_PAGES=debian-gateway vm-tests/run docs_say

.PHONY: fmt
fmt: ## formats the sources: Rust, Python, Nix
	$(CARGO) fmt
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml
	@scripts/install-packages lint
	scripts/lint fmt

.PHONY: hooks
hooks: ## has git look at each commit before it is made (.githooks/pre-commit)
	git config core.hooksPath .githooks

.PHONY: clean
clean: ## removes what was built and the demo's state
	$(CARGO) clean
	rm -rf demo-state
