#!/bin/sh
# Renders one frame. With `gpus: 1` no other job has the same GPU; the script fails if one has.
set -eu
busy="$TITAN_SHARED/gpu-$CUDA_VISIBLE_DEVICES.busy"
mkdir "$busy" || { echo "GPU $CUDA_VISIBLE_DEVICES is in use by another job" >&2; exit 1; }
trap 'rmdir "$busy"' EXIT
sleep 0.2
echo "frame $1 on GPU $CUDA_VISIBLE_DEVICES" > "$TITAN_SHARED/frame-$1"
