#!/usr/bin/env bash
# Codes a movie with H.265 at half its size and reports what that cost.
#     vidscale/pipelines/vod_x265.sh movie.mp4 [OPTION...]
set -euo pipefail
vidscale encode "$1" --scale 2 --codec x265 --preset slow --crf 26 "${@:2}"
