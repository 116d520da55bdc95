#!/bin/sh
# Makes the clips in this folder from generated test patterns: four seconds of each video codec in three sizes, and of Opus.
# The output is committed, so this runs only when clips shall change. Needs FFmpeg (Debian: apt-get install ffmpeg).
set -eu
cd "$(dirname "$0")"
seconds=4
fps=30

# clip SIZE RATE FILE ENCODER-OPTIONS...: one encoding. Constant rate with a short buffer, as a call's encoder; noise keeps it busy.
clip() {
    size=$1 rate=$2 file=$3
    shift 3
    ffmpeg -nostdin -hide_banner -loglevel error -y \
        -f lavfi -i "testsrc2=size=$size:rate=$fps:duration=$seconds,noise=alls=12:allf=t,format=yuv420p" \
        -b:v "$rate" -minrate "$rate" -maxrate "$rate" -bufsize "$rate" -g 9999 -threads 1 "$@" -an "$file"
}

for encoding in q:320x180:150k h:640x360:450k f:1280x720:1500k; do
    rid=${encoding%%:*} rest=${encoding#*:}
    size=${rest%%:*} rate=${rest#*:}
    clip "$size" "$rate" "vp8-$rid.ivf" -c:v libvpx -deadline realtime -cpu-used 8 -lag-in-frames 0 -auto-alt-ref 0 -error-resilient 1
    clip "$size" "$rate" "vp9-$rid.ivf" -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -lag-in-frames 0 -auto-alt-ref 0
    clip "$size" "$rate" "av1-$rid.ivf" -c:v libaom-av1 -usage realtime -cpu-used 8 -lag-in-frames 0
    clip "$size" "$rate" "h264-$rid.h264" -c:v libx264 -preset veryfast -tune zerolatency -profile:v baseline \
        -x264-params "slices=1:sliced-threads=0:keyint=9999:scenecut=0:aud=1:repeat-headers=1" -f h264
done
ffmpeg -nostdin -hide_banner -loglevel error -y \
    -f lavfi -i "aevalsrc='0.3*sin(2*PI*t*(220+40*sin(2*PI*t)))+0.02*random(0)':sample_rate=48000:duration=$seconds" \
    -c:a libopus -b:a 32k -vbr on -frame_duration 20 -application voip -ac 1 opus.ogg
du -cb ./*.ivf ./*.h264 ./*.ogg | tail -1
