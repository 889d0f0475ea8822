# make            build ./bin/backup
# make demo       watch a folder be saved, listed and brought back
# make test       all tests, with the race detector
# make check      what CI checks besides tests: format, vet, staticcheck, builds
# make faults     FAULTS (5) random histories of faults on a cluster in FAULTS_TIME (20m), and
#                 the long crash suites
# make fuzz       every fuzz target for FUZZTIME (20000x)
# make bench      this system and others, whole, on BENCH_SETS: tables and plots in BENCH_DIR
# make scale      how this system behaves as things grow: SCALE=1 of SCALE_SCENARIOS
# make simulate   how the system behaves on up to 10,000 nodes: tables and plots of docs/scale.md
# make profile    CPU profiles of our client and server on PROFILE_SET
# make bench-stages  Go benchmarks of single stages
# make bench-index   how a store grows, as CSV; INDEX_SIZES=10000,...,10000000 (takes minutes)
# make clean      remove ./bin

GO       ?= go
FUZZTIME ?= 20000x
FAULTS   ?= 5
FAULTS_TIME ?= 20m
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS  := -s -w $(if $(VERSION),-X main.version=$(VERSION))

# All sets are big,vm,dup,logs,code,small,small10k; they and the repositories of
# all peers take up to 40 GB. No BENCH_PEERS are all that are installed.
BENCH_DIR    ?= bench-work
BENCH_SETS   ?= logs,code,small10k
BENCH_ROUNDS ?= 2
BENCH_PEERS  ?=
BENCH_FLAGS  ?=
PROFILE_SET  ?= logs
# No SCALE_SCENARIOS are all: million sparse versions crowd crowd-big nodes. At their full
# size they take up to 15 GB of disk, one after the other.
SCALE           ?= 1
SCALE_SCENARIOS ?=
SCALE_FLAGS     ?=
comma        := ,

.PHONY: build demo test check faults fuzz bench scale simulate profile bench-stages bench-index bench-program clean

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/backup

demo: build
	docs/demo.sh bin/backup

test:
	$(GO) test -race -timeout 20m ./...

check:
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not gofmt-ed: $$unformatted"; exit 1; fi
	$(GO) mod tidy -diff
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	for os in linux darwin windows; do echo "build for $$os"; CGO_ENABLED=0 GOOS=$$os $(GO) build -o /dev/null ./... || exit 1; done
	for os in darwin windows; do echo "vet for $$os"; GOOS=$$os $(GO) vet ./... || exit 1; done

# Each part takes 20 minutes at most: histories are only begun while there is time.
faults:
	BACKUP_LONG=1 BACKUP_FAULTS=$(FAULTS) $(GO) test -timeout $(FAULTS_TIME) -count 1 -v -run '^TestFaults$$' ./cmd/backup
	BACKUP_LONG=1 $(GO) test -timeout 20m -count 1 -skip '^TestFaults$$' ./cmd/backup ./storage
	BACKUP_LONG=1 $(GO) test -timeout 20m -count 1 -v -run '^TestCollectionMemory$$' ./coordinator

# Counted, not timed: before Go 1.27 a run that is ended by the clock may fail at its
# end with nothing found (go.dev/issue/75804).
fuzz:
	@$(GO) list ./... | while read -r p; do \
		$(GO) test -list '^Fuzz' $$p | grep '^Fuzz' | while read -r f; do \
			echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$p || exit 1; \
		done || exit 1; \
	done

bench-program: build
	$(GO) build -o bin/ ./cmd/bench

bench: bench-program
	bin/bench data $(BENCH_DIR)/data $(subst $(comma), ,$(BENCH_SETS))
	BACKUP=bin/backup bin/bench run $(BENCH_DIR)/data $(BENCH_DIR)/work $(BENCH_DIR)/results.csv \
		--rounds $(BENCH_ROUNDS) --sets $(BENCH_SETS) $(if $(BENCH_PEERS),--peers $(BENCH_PEERS)) $(BENCH_FLAGS)
	bin/bench report $(BENCH_DIR)/results.csv --plots $(BENCH_DIR)/plots > $(BENCH_DIR)/report.md
	@echo "see $(BENCH_DIR)/report.md"

scale: bench-program
	mkdir -p $(BENCH_DIR)
	BACKUP=bin/backup bin/bench scale $(BENCH_DIR)/data $(BENCH_DIR)/work $(BENCH_DIR)/scale.csv \
		$(SCALE_SCENARIOS) --scale $(SCALE) $(SCALE_FLAGS)
	bin/bench report-scale $(BENCH_DIR)/scale.csv --plots $(BENCH_DIR)/plots > $(BENCH_DIR)/scale.md
	@echo "see $(BENCH_DIR)/scale.md"

simulate:
	$(GO) run ./cmd/simulate docs/scale.md docs/plots

profile: bench-program
	bin/bench data $(BENCH_DIR)/data $(PROFILE_SET)
	BACKUP=bin/backup bin/bench profile $(BENCH_DIR)/data $(BENCH_DIR)/work $(BENCH_DIR)/profiles --set $(PROFILE_SET)

bench-stages:
	$(GO) test -run '^$$' -bench . -benchmem ./...

bench-index:
	@CGO_ENABLED=0 $(GO) test -run '^$$' -bench IndexScale -benchtime 1x -timeout 60m ./storage | grep '^scale,'

clean:
	rm -rf bin
