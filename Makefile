# make            build ./bin/backup
# make demo       watch a folder be saved, listed and brought back
# make test       all tests, with the race detector
# make check      what CI checks besides tests: format, vet, staticcheck, builds
# make faults     the long crash and bad-luck suites
# make fuzz       every fuzz target for FUZZTIME (30s)
# make bench      Go benchmarks of the stages
# make scale      how a store grows, as CSV; SCALE=10000,...,10000000 (takes minutes)
# make clean      remove ./bin

GO       ?= go
FUZZTIME ?= 30s
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS  := -s -w $(if $(VERSION),-X main.version=$(VERSION))

.PHONY: build demo test check faults fuzz bench scale clean

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

faults:
	BACKUP_LONG=1 $(GO) test -timeout 60m -count 1 -v ./cmd/backup ./storage

fuzz:
	@$(GO) list ./... | while read -r p; do \
		$(GO) test -list '^Fuzz' $$p | grep '^Fuzz' | while read -r f; do \
			echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$p || exit 1; \
		done || exit 1; \
	done

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

scale:
	@CGO_ENABLED=0 $(GO) test -run '^$$' -bench IndexScale -benchtime 1x -timeout 60m ./storage | grep '^scale,'

clean:
	rm -rf bin
