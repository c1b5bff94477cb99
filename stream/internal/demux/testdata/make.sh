#!/usr/bin/env bash
# Makes the small real files that the fuzz test begins with. Needs ffmpeg.
set -euo pipefail
cd "$(dirname "$0")"
make() {
  ffmpeg -v error -y -f lavfi -i testsrc=size=64x64:rate=10 -f lavfi -i sine=sample_rate=48000 \
    -t 0.4 -pix_fmt yuv420p -map_metadata -1 -fflags +bitexact -flags +bitexact "${@:2}" "$1"
}
h264=(-c:v libx264 -preset ultrafast -crf 45 -bf 0 -x264-params info=0)
vp8=(-c:v libvpx -crf 60 -b:v 20k -deadline realtime)
vp9=(-c:v libvpx-vp9 -crf 60 -b:v 20k -deadline realtime)
av1=(-c:v libaom-av1 -crf 60 -cpu-used 8 -usage realtime)
opus=(-c:a libopus -b:a 6k)
make whole.mp4 "${h264[@]}" "${opus[@]}"
make fragments.mp4 "${h264[@]}" "${opus[@]}" -movflags +frag_keyframe+empty_moov+default_base_moof
make aac.mp4 "${vp9[@]}" -c:a aac -b:a 8k
make h264.mkv "${h264[@]}" "${opus[@]}"
make av1.mkv "${av1[@]}" "${opus[@]}"
make live.webm "${vp8[@]}" "${opus[@]}" -live 1
make vp8.ivf "${vp8[@]}" -an
make av1.ivf "${av1[@]}" -an
make sound.ogg -vn "${opus[@]}"
make h264.ts "${h264[@]}" "${opus[@]}"
