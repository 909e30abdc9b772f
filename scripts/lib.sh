# Shared by the scripts: where things are kept, and how progress is told. Sourced, not run.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export CALLMETER_CACHE=${CALLMETER_CACHE:-$HOME/.cache/callmeter}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CALLMETER_CACHE/target}
export CALLMETER_IMAGE_TAG=${CALLMETER_IMAGE_TAG:-dev}
# A registry that fails for a moment ends no build.
export CARGO_NET_RETRY=${CARGO_NET_RETRY:-10}
cluster=$root/e2e/cluster/cluster

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

die() { printf '\nerror: %s\n' "$*" >&2; exit 1; }

# stage NAME BUDGET_MINUTES COMMAND...: runs it, and remembers how long it took. In a COMMAND that is
# a function `set -e` has no effect, so that it has to join its steps by &&.
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

# The binaries of the product, in the profile that tests use. What runs tests as well builds all
# targets of the workspace at once, so that each dependency is built with one set of features.
build_binaries() {
    local what=(-p callmeter -p callmeter-gateway -p callmeter-operator -p callmeter-worker)
    [ "${CALLMETER_BUILD:-}" != all ] || what=(--workspace --all-targets)
    cargo build --manifest-path "$root/Cargo.toml" --locked "${what[@]}"
}

# Starts the cluster, or takes the one KUBECONFIG points at; exports what its users need.
cluster_up() {
    local theirs=${KUBECONFIG:-}
    "$cluster" build
    eval "$("$cluster" env)"
    if [ -n "$theirs" ] && [ "$theirs" != "$KUBECONFIG" ]; then
        [ -n "${IMAGES:-}" ] || die "IMAGES is not set; with a cluster of your own it is a registry to push to (registry.example/team) or a command that takes image archives ('kind load image-archive')"
        export KUBECONFIG=$theirs
        unset CALLMETER_AUDIT_LOG
        cluster_is_ours=0
        echo "using the cluster of KUBECONFIG=$KUBECONFIG"
    else
        cluster_is_ours=1
        "$cluster" up
    fi
    CALLMETER_KUBECTL=$(command -v kubectl)
    CALLMETER_HELM=$(command -v helm)
    export CALLMETER_KUBECTL CALLMETER_HELM
}

# Builds the images and brings them to the cluster: ours by loading them on its nodes, another by
# IMAGES. The chart's image.repository is printed last by whoever needs it: image_repository.
images() {
    if [ "$cluster_is_ours" = 1 ]; then
        "$cluster" images --tag "$CALLMETER_IMAGE_TAG" operator gateway worker peers
        return
    fi
    local reference archive
    "$cluster" images --no-load --tag "$CALLMETER_IMAGE_TAG" operator gateway worker peers |
        while read -r reference archive; do
            case $IMAGES in
                *" "*) $IMAGES "$archive" ;;
                *) buildah push --storage-driver vfs "oci-archive:$archive" "docker://$IMAGES/$(basename "$reference")" ;;
            esac
        done
}

# Where the cluster's nodes find the images.
image_repository() {
    case ${IMAGES:-} in
        '' | *" "*) echo docker.io/callmeter ;;
        *) echo "$IMAGES" ;;
    esac
}
