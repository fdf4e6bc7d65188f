#!/usr/bin/env bash
# Codes the picture of a movie at half its size: ffmpeg decodes, vidscale scales, ffmpeg encodes.
#     vidscale/pipelines/y4m_chain.sh movie.mp4 small.mkv
# FFMPEG names the binary, vidscale must be on PATH.
set -euo pipefail
ffmpeg=${FFMPEG:-ffmpeg}
"$ffmpeg" -v error -i "$1" -map 0:v:0 -strict -1 -f yuv4mpegpipe - |
    vidscale stage down --scale 2 |
    "$ffmpeg" -v error -f yuv4mpegpipe -i - -c:v libx265 -x265-params log-level=error -crf 28 -y "$2"
