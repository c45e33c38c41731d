#!/usr/bin/env bash
# Two nodes on one machine: unshare --map-root-user --net bash tests/two_nodes.sh PYTHON COMMAND...
# A node is a network namespace of its own, and a virtual cable joins the two. In each, torchrun starts one process.
set -euo pipefail
export python=$1
shift

node() { # NUMBER COMMAND...
    export GLOO_SOCKET_IFNAME=node$1
    # is_host and local-addr: this machine's name, by which torchrun knows whose the endpoint is, names no namespace.
    exec "$python" -m torch.distributed.run --nnodes 2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-id 1 \
        --rdzv-endpoint 10.77.0.1:29500 --rdzv-conf "is_host=$((1 - $1))" --local-addr "10.77.0.$(($1 + 1))" \
        --no-python "${@:2}"
}
export -f node

ip link set lo up
ip link add name node0 type veth peer name node1
ip address add 10.77.0.1/24 dev node0
ip link set node0 up
unshare --net bash -c 'ip link set lo up
until ip address add 10.77.0.2/24 dev node1 2> /dev/null; do sleep 0.1; done # when it has been moved here
ip link set node1 up
node 1 "$@"' node1 "$@" &
second=$!
trap 'kill $second 2> /dev/null || true' EXIT
until [ "$(readlink /proc/$second/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.1; done
ip link set node1 netns $second
(node 0 "$@")
wait $second
