# xepc: `make` prints what there is to make. Each target installs what it lacks (Debian 12, root) and says so.
GO       ?= go
CLANG    ?= clang-14
TOOL     := $(GO) tool -modfile=.ci/go.mod
PROGRAMS := hss/cmd/hss controlplane/cmd/pgwc userplane/cmd/pgwu testbed/cmd/testbed
FUZZTIME ?= 20s

.DEFAULT_GOAL := help
.PHONY: help build test lint fmt generate generate-check demo bench bench-userplane bench-hss fuzz fuzz-long prove prove-hss

help: ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build the programs into bin/
	$(GO) build -trimpath -o bin/ $(addprefix ./,$(PROGRAMS))

test: ## run every test: unit, packet (in the kernel) and namespace tests, with the race detector; needs root
	@.ci/need gcc=gcc +libc6-dev redis-server=redis-server tshark=tshark ethtool=ethtool promtool=prometheus
	$(GO) test -race -count=1 ./...

test-kernels: ## run the data path's tests, and that of SCTP, on Debian's kernels 6.1 and 6.12, in qemu
	.ci/kernels ./userplane/datapath
	KERNELS_RUN='TestSCTP$$' .ci/kernels ./pkg/diameter

lint: ## run the linters, the layering rules among them
	$(TOOL) golangci-lint run ./...

fmt: ## format the Go code
	$(TOOL) golangci-lint fmt ./...

generate: ## compile bpf/ into the Go packages that carry it
	@.ci/need $(CLANG)=$(CLANG) llvm-strip-14=llvm-14 +libbpf-dev
	$(GO) generate ./...

generate-check: generate ## fail if what is committed is not what generate makes
	git diff --exit-code -- '*_bpfel.go' '*_bpfel.o'

demo: build ## attach simulated UEs to a whole network in namespaces and move real traffic; needs root
	@.ci/need ip=iproute2
	bin/testbed demo $(DEMOFLAGS)

bench: ## measure the data path in the kernel; needs root
	$(GO) run ./userplane/datapath/bench

bench-userplane: ## measure the user plane: packets in the kernel, PFCP over the wire; needs root
	$(GO) run ./userplane/datapath/bench -json -only all -sessions 1,1000,50000,1000000 -capacity 1000000
	$(GO) run ./userplane/sxb/bench -json

bench-hss: ## measure the HSS over a Redis of its own, beside a handler that does nothing
	@.ci/need redis-server=redis-server
	$(GO) run ./hss/cmd/hssbench $(BENCHFLAGS)

fuzz: ## run each fuzz target for FUZZTIME (20s)
	@set -e; for pkg in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
		for target in $$(grep -ho '^func Fuzz[A-Za-z0-9_]*' $$pkg/*_test.go | cut -c6-); do \
			echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done

prove: ## the proofs of the user plane at full size, with what they measured; about 20 minutes; needs root
	XEPC_PROVE=1 $(GO) test -count=1 -v -timeout 2h ./userplane/proof

prove-hss: ## the HSS's races and kills at full size: 10,000 races for a SIM, 50 kills of the HSS and of Redis
	@.ci/need redis-server=redis-server
	XEPC_RACES=10000 XEPC_KILLS=50 $(GO) test -count=1 -v -timeout 1h -run 'TestTwoNodesRaceForOneSIM|UnderLoad|LastSecond|TestHostilePeers' ./hss/s6a ./hss/cmd/hss

fuzz-long: ## give the HSS's handlers and the PGW-U's PFCP edge 10 million mutated messages each, its data path 100 million frames
	XEPC_FUZZ_FRAMES=100000000 $(GO) test -count=1 -v -timeout 2h -run TestMutatedFrames ./userplane/datapath
	XEPC_FUZZ_MESSAGES=10000000 $(GO) test -count=1 -v -timeout 12h -run TestMutatedMessages ./hss/s6a ./userplane/sxb
