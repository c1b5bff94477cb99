#!/bin/sh
# Makes clip.mp4, the built-in test clip: 12 s that loop without a seam, with a running
# clock and a beep at each second. Needs ffmpeg with libx264, libopus and drawtext, and
# the DejaVu fonts (Debian: ffmpeg fonts-dejavu-core).
#
# H.264 Constrained Baseline without B-frames (they do not play over WebRTC), a keyframe
# a second so that players start at once; fragmented MP4, the form that mediacommon reads.
set -eu
cd "$(dirname "$0")"

font=$(fc-match -f '%{file}' 'DejaVu Sans Mono:bold')
text="fontfile=$font:fontcolor=white:box=1:boxcolor=black@0.65:boxborderw=12:x=(w-text_w)/2"
picture="testsrc2=size=854x480:rate=30:duration=12"
beep="aevalsrc='0.3*sin(2*PI*880*t)*lt(mod(t\,1)\,0.08)':sample_rate=48000:duration=12.1"

ffmpeg -hide_banner -loglevel warning -y -f lavfi -i "$picture" -f lavfi -i "$beep" \
	-vf "drawtext=$text:fontsize=56:y=h*0.36:text=Waterfall,drawtext=$text:fontsize=72:y=h*0.56:text='%{pts\:hms}'" \
	-c:v libx264 -preset veryslow -profile:v baseline -level 3.1 -refs 2 -pix_fmt yuv420p -bf 0 -g 30 -sc_threshold 0 \
	-b:v 900k -maxrate 1000k -bufsize 500k \
	-c:a libopus -b:a 48k -ac 2 -frame_duration 20 -application audio \
	-map_metadata -1 -fflags +bitexact -flags:v +bitexact -flags:a +bitexact \
	-movflags +frag_keyframe+empty_moov+default_base_moof clip.mp4

ls -l clip.mp4
[ "$(wc -c <clip.mp4)" -le 2097152 ]
