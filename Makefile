# Everything here can be run without make, too: the targets only name commands.
.DEFAULT_GOAL := help
.PHONY: all build install test unit race system synctest fuzz bench transfers lint vet fmt-check cross cover clean help

all: build test ## build, check and test everything

build: ## build every package
	go build ./...

install: ## install the command into $GOBIN
	go install ./cmd/pvdstack

test: ## run every check and every test (the same as .ci/test)
	.ci/test

unit: ## run the tests that are fast
	.ci/test unit

race: ## run every test with the race detector, nested modules too
	.ci/test race modules

system: ## as root: run the tests against real kernels and daemons
	.ci/test system

synctest: ## run the tests in virtual time
	.ci/test synctest

fuzz: ## run every fuzz target for FUZZTIME (5s)
	.ci/test fuzz

bench: ## as root: measure against a bare gVisor, wireguard/tun and the kernel
	go -C bench run .

transfers: ## run all 10,000 transfers over a lossy link, in virtual time
	TRANSFERS=10000 .ci/synctest -v -count=1 -timeout 2h -run 'Transfers'

lint: ## run golangci-lint, of the pinned version
	.ci/test lint

vet: ## run go vet
	.ci/test vet

fmt-check: ## fail if a file is not formatted
	.ci/test fmt

cross: ## build for linux/arm64, darwin, windows and freebsd
	.ci/test cross

cover: ## print the coverage of each package and in all
	@mkdir -p .build
	go test -count=1 -coverpkg=./... -coverprofile=.build/cover.out ./...
	go tool cover -func=.build/cover.out | tail -n 1

clean: ## remove what was built
	rm -rf .build artifacts

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
