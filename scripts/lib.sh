# Shared by the scripts: where things are kept, and how progress is told. Sourced, not run.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export CALLMETER_CACHE=${CALLMETER_CACHE:-$HOME/.cache/callmeter}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CALLMETER_CACHE/target}
export CALLMETER_IMAGE_TAG=${CALLMETER_IMAGE_TAG:-dev}
cluster=$root/e2e/cluster/cluster

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

die() { printf '\nerror: %s\n' "$*" >&2; exit 1; }

# stage NAME BUDGET_MINUTES COMMAND...: runs it, and remembers how long it took.
stages=()
stage() {
    local name=$1 budget=$2 begin=$SECONDS status=0
    shift 2
    say "$name (budget $budget min)"
    "$@" || status=$?
    local took=$((SECONDS - begin))
    stages+=("$(printf '%-22s %3d min %02d s of %3d min' "$name" $((took / 60)) $((took % 60)) "$budget")")
    return $status
}

# The binaries of the product, in the profile that tests use.
build_binaries() {
    cargo build --manifest-path "$root/Cargo.toml" --locked \
        -p callmeter -p callmeter-gateway -p callmeter-operator -p callmeter-worker
}

# Starts the cluster, or takes the one KUBECONFIG points at; exports what its users need.
cluster_up() {
    "$cluster" build
    if [ -n "${KUBECONFIG:-}" ] && [ "$KUBECONFIG" != "$("$cluster" kubeconfig)" ]; then
        echo "using the cluster of KUBECONFIG=$KUBECONFIG"
        cluster_is_ours=0
        [ -n "${IMAGES:-}" ] || die "IMAGES is not set: with a cluster of your own it names the registry to push to, or a command that takes image archives (for kind: IMAGES='kind load image-archive')"
    else
        "$cluster" up
        KUBECONFIG=$("$cluster" kubeconfig)
        cluster_is_ours=1
        CALLMETER_AUDIT_LOG=$("$cluster" audit-log)
        export CALLMETER_AUDIT_LOG
    fi
    export KUBECONFIG
    CALLMETER_KUBECTL=$("$cluster" tool kubectl)
    CALLMETER_HELM=$("$cluster" tool helm)
    export CALLMETER_KUBECTL CALLMETER_HELM
}

kubectl() { "$CALLMETER_KUBECTL" "$@"; }
helm() { "$CALLMETER_HELM" "$@"; }
