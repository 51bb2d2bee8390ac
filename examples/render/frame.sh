#!/bin/sh
# One frame. Nobody else may be on the GPU meanwhile: that is what `gpus: 1` is for.
set -eu
busy="$TITAN_SHARED/gpu-$CUDA_VISIBLE_DEVICES.busy"
mkdir "$busy" || { echo "GPU $CUDA_VISIBLE_DEVICES is in use by another job" >&2; exit 1; }
trap 'rmdir "$busy"' EXIT
sleep 0.2
echo "frame $1 on GPU $CUDA_VISIBLE_DEVICES" > "$TITAN_SHARED/frame-$1"
