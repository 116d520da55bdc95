"""FFmpeg's WHIP muxer (FFmpeg 8), by PyAV, whose wheels bring one: publishes a drawn picture and a tone until it is terminated.

Usage: ffmpeg.py URL CERTIFICATE KEY

The certificate is for DTLS. Where FFmpeg is built with GnuTLS, as here, the one that it makes by itself is on the curve P-224, which WebRTC does
not know (RFC 8827 section 6.5) and servers refuse.
"""

import fractions
import signal
import sys
import time

import av
import numpy

RATE = 48000
SAMPLES = 960
FRAMES = 30


def main(url: str, certificate: str, key: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with av.open(url, "w", format="whip", options={"cert_file": certificate, "key_file": key}) as out:
        # What WebRTC can carry: no B-frames, Opus of 20 ms.
        options = {"profile": "baseline", "preset": "ultrafast", "tune": "zerolatency", "bf": "0"}
        video = out.add_stream("libx264", rate=FRAMES, options=options)
        video.width, video.height, video.pix_fmt, video.gop_size = 320, 240, "yuv420p", FRAMES
        audio = out.add_stream("libopus", rate=RATE, layout="stereo")
        began, frames, samples = time.monotonic(), 0, 0
        while True:
            picture = numpy.full((240, 320, 3), (frames * 4) % 256, dtype=numpy.uint8)
            picture[frames % 240, :] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = frames, fractions.Fraction(1, FRAMES)
            out.mux(video.encode(frame))
            frames += 1
            while samples * FRAMES < frames * RATE:
                tone = numpy.sin((numpy.arange(SAMPLES) + samples) * (2 * numpy.pi * 440 / RATE)) * 8000
                sound = av.AudioFrame.from_ndarray(numpy.repeat(tone.astype(numpy.int16), 2)[None, :], format="s16", layout="stereo")
                sound.sample_rate, sound.pts, sound.time_base = RATE, samples, fractions.Fraction(1, RATE)
                out.mux(audio.encode(sound))
                samples += SAMPLES
            time.sleep(max(0.0, began + frames / FRAMES - time.monotonic()))


if __name__ == "__main__":
    main(*sys.argv[1:])
