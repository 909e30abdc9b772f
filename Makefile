# make demo    a cluster, a pool at 0, a test, calls, a report
# make test    everything, from unit tests to end-to-end; installs what it needs
# make bench   the worker against its performance goals, beside a peer: docs/performance.md
# make bench-sip  the same for signalling alone
# make fuzz    one of message, framer, uri, digest, sdp, as FUZZ="TARGET [SECONDS]"
# make check   the fast loop: format, lints, unit tests, docs, licences, drift
export CALLMETER_CACHE ?= $(HOME)/.cache/callmeter
export CARGO_TARGET_DIR ?= $(CALLMETER_CACHE)/target

.PHONY: help demo demo-down test bench bench-sip fuzz check generate cluster-up cluster-down

help:
	@sed -n 's/^# //p' $(firstword $(MAKEFILE_LIST))

demo:
	@scripts/demo

demo-down:
	@scripts/demo down

test:
	@scripts/test

bench:
	@scripts/bench $(BENCH)

bench-sip:
	@scripts/bench sip $(BENCH)

fuzz:
	@scripts/fuzz $(FUZZ)

check:
	@scripts/check

generate:
	@scripts/generate

cluster-up:
	@e2e/cluster/cluster up

cluster-down:
	@e2e/cluster/cluster down
