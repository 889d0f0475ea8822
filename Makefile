# make            build ./bin/backup
# make demo       show how a folder is backed up, listed and restored
# make test       all tests, with the race detector
# make check      all checks of CI besides tests: format, vet, staticcheck, builds
# make faults     FAULTS (5) random histories of faults on a cluster, within FAULTS_TIME (20m),
#                 and the long crash tests, and a backup that is killed and cut off again and again
# make histories  HISTORIES (200) random histories of trees that change between and during backups,
#                 with the trees in HISTORIES_DIR, on the file system that is to be tried
# make refusals   REFUSALS (450) runs of commands of which strace refuses system calls, and a table
# make wine-test  tests of WINE_PACKAGES for Windows, and those of wine-exe, under Wine
# make wine-exe   backups, restores and "up" with the program for Windows, under Wine; both skip
#                 where Wine is not installed
# make fuzz       every fuzz target for FUZZTIME (20000x: 20,000 inputs)
# make bench      measure this system and others with BENCH_SETS: tables and plots in BENCH_DIR
# make scale      measure how this system behaves as things grow: SCALE_SCENARIOS at size SCALE=1
# make simulate   compute how the system behaves on up to 10,000 nodes: tables and plots of
#                 docs/scale.md (takes about half a minute)
# make profile    take CPU profiles of our client and server with PROFILE_SET
# make bench-stages  run the Go benchmarks of single stages
# make bench-index   measure a growing store, as CSV; INDEX_SIZES=10000,...,10000000 (takes minutes)
# make clean      remove ./bin

GO       ?= go
FUZZTIME ?= 20000x
FAULTS   ?= 5
WINE_PACKAGES ?= ./client/internal/archive ./client/internal/ignore ./client/internal/osfs \
	./client/internal/seal ./client/internal/tree
FAULTS_TIME ?= 20m
HISTORIES     ?= 200
HISTORIES_DIR ?=
REFUSALS      ?= 450
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS  := -s -w $(if $(VERSION),-X main.version=$(VERSION))

# All sets are big,vm,dup,logs,code,small,small10k. With the repositories of all peers they
# take up to 40 GB of disk space. Empty BENCH_PEERS means all peers that are installed.
BENCH_DIR    ?= bench-work
BENCH_SETS   ?= logs,code,small10k
BENCH_ROUNDS ?= 2
BENCH_PEERS  ?=
BENCH_FLAGS  ?=
PROFILE_SET  ?= logs
# Empty SCALE_SCENARIOS means all: million sparse versions crowd crowd-big nodes. They run one
# after the other; at full size they take up to 15 GB of disk space.
SCALE           ?= 1
SCALE_SCENARIOS ?=
SCALE_FLAGS     ?=
comma        := ,

.PHONY: build demo test wine-test wine-exe check faults histories refusals fuzz bench scale simulate profile bench-stages bench-index bench-program clean

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/backup

demo: build
	docs/demo.sh bin/backup

test:
	$(GO) test -race -timeout 20m ./...

wine-test: wine-exe
	scripts/wine/test.sh $(WINE_PACKAGES)
	scripts/wine/test.sh -run 'Map|Plain|^TestSync|Leftover' ./client/internal/target

wine-exe:
	scripts/wine/exe.sh

check:
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not formatted by gofmt: $$unformatted"; exit 1; fi
	$(GO) mod tidy -diff
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	for os in linux darwin windows; do echo "build for $$os"; CGO_ENABLED=0 GOOS=$$os $(GO) build -o /dev/null ./... || exit 1; done
	for os in darwin windows; do echo "vet for $$os"; GOOS=$$os $(GO) vet ./... || exit 1; done
	# A page in a browser can use these packages: none of them may import a server.
	GOOS=js GOARCH=wasm $(GO) build ./client ./bus ./schemas/...

# Each command takes at most 20 minutes. TestFaults starts a history only if time is left.
faults:
	BACKUP_LONG=1 BACKUP_FAULTS=$(FAULTS) $(GO) test -timeout $(FAULTS_TIME) -count 1 -v -run '^TestFaults$$' ./cmd/backup
	BACKUP_LONG=1 $(GO) test -timeout 20m -count 1 -skip '^(TestFaults|TestRefusedCalls)$$' ./cmd/backup ./storage
	BACKUP_LONG=1 $(GO) test -timeout 20m -count 1 -v -run '^TestCollectionMemory$$' ./coordinator

histories:
	BACKUP_LONG=1 BACKUP_HISTORIES=$(HISTORIES) BACKUP_HISTORIES_DIR=$(HISTORIES_DIR) $(GO) test -timeout 0 -count 1 -v -run '^TestHistories$$' ./client

# Without cgo: strace would refuse the calls of the loader of C libraries, too.
refusals:
	CGO_ENABLED=0 BACKUP_LONG=1 BACKUP_REFUSALS=$(REFUSALS) $(GO) test -timeout 0 -count 1 -v -run '^TestRefusedCalls$$' ./cmd/backup

# FUZZTIME counts inputs instead of time: before Go 1.27, a run with a time limit may fail at
# its end without a finding (go.dev/issue/75804).
fuzz:
	@grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' bus client cmd coordinator schemas storage | sort | \
		sed -E 's|(.*)/[^/]*:func |./\1 |' | while read -r p f; do \
		echo "$$p $$f"; \
		$(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$p || exit 1; \
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
