"""aiortc as WHIP publisher and WHEP player.

rtc.py publish URL vp8|h264|h264-baseline     until it is killed
rtc.py play URL vp8|h264|h264-baseline        until enough is decoded
"""

import asyncio
import signal
import sys

from aiortc import RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError, VideoStreamTrack

from session import DEADLINE, Count, Session


async def connect(peer: RTCPeerConnection, url: str) -> Session:
    await peer.setLocalDescription(await peer.createOffer())
    session = await asyncio.to_thread(Session, url, peer.localDescription.sdp)
    await peer.setRemoteDescription(RTCSessionDescription(session.answer, "answer"))
    return session


def prefer(transceiver, codec: str):
    codecs = RTCRtpReceiver.getCapabilities("video").codecs
    codec, _, baseline = codec.partition("-")
    # Of H.264 the profile that every client has, or the plain baseline.
    profile = "42001f" if baseline else "42e01f"
    usual = lambda c: c.parameters.get("profile-level-id", profile) == profile  # noqa: E731
    wanted = [c for c in codecs if c.mimeType.lower() in (f"video/{codec}", "video/rtx") and usual(c)]
    transceiver.setCodecPreferences(wanted)


async def publish(peer: RTCPeerConnection, codec: str, count: Count, stop: asyncio.Event, url: str) -> int:
    prefer(peer.addTransceiver(VideoStreamTrack(), "sendonly"), codec)
    peer.addTransceiver(AudioStreamTrack(), "sendonly")
    session = await connect(peer, url)
    await stop.wait()
    await asyncio.to_thread(session.end)
    return 0


async def play(peer: RTCPeerConnection, codec: str, count: Count, stop: asyncio.Event, url: str) -> int:
    prefer(peer.addTransceiver("video", "recvonly"), codec)
    peer.addTransceiver("audio", "recvonly")

    @peer.on("track")
    def receive(track):
        async def decode():
            while True:
                try:
                    frame = await track.recv()
                except MediaStreamError:
                    return
                if track.kind == "video":
                    count.frames += 1
                else:
                    count.samples += frame.samples
                if count.enough():
                    stop.set()

        asyncio.ensure_future(decode())

    session = await connect(peer, url)
    try:
        await asyncio.wait_for(stop.wait(), DEADLINE)
    except asyncio.TimeoutError:
        pass
    await asyncio.to_thread(session.end)
    return 0 if count.enough() else 1


async def main(mode: str, url: str, codec: str) -> int:
    peer, count, stop = RTCPeerConnection(), Count(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    code = await {"publish": publish, "play": play}[mode](peer, codec, count, stop, url)
    print(f"rtc.py {mode}: {count}", flush=True)
    await peer.close()
    return code


sys.exit(asyncio.run(main(*sys.argv[1:4])))
