#!/usr/bin/python3
"""GStreamer's webrtcbin as WHIP publisher and WHEP player.

gst.py publish URL vp8|h264     until it is killed
gst.py play URL vp8|h264        until enough is decoded
"""

import signal
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstWebRTC", "1.0")
gi.require_version("GstSdp", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

from session import DEADLINE, Count, Session  # noqa: E402

VIDEO = {
    "vp8": "vp8enc deadline=1 keyframe-max-dist=3000 ! rtpvp8pay picture-id-mode=15-bit",
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=3000 ! video/x-h264,profile=constrained-baseline"
    " ! rtph264pay aggregate-mode=zero-latency config-interval=-1",
}
PUBLISH = """
webrtcbin name=rtc bundle-policy=max-bundle
videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=180,framerate=30/1 ! queue ! {video}
  ! application/x-rtp,media=video,encoding-name={name},payload=96 ! rtc.
audiotestsrc is-live=true wave=ticks ! audioconvert ! audioresample ! queue ! opusenc ! rtpopuspay
  ! application/x-rtp,media=audio,encoding-name=OPUS,payload=97 ! rtc.
"""
CAPS = {
    "video": "application/x-rtp,media=video,encoding-name={name},payload=96,clock-rate=90000{parameters}",
    "audio": "application/x-rtp,media=audio,encoding-name=OPUS,payload=97,clock-rate=48000,encoding-params=(string)2",
}
H264 = ",packetization-mode=(string)1,profile-level-id=(string)42e01f"


class Client:
    def __init__(self, mode: str, url: str, codec: str):
        self.mode, self.url, self.codec, self.session = mode, url, codec, None
        self.loop, self.count, self.code = GLib.MainLoop(), Count(), 1
        description = PUBLISH.format(video=VIDEO[codec], name=codec.upper()) if mode == "publish" else "webrtcbin name=rtc bundle-policy=max-bundle"
        self.pipeline = Gst.parse_launch(description)
        if mode == "play":  # A bin of one element is that element.
            rtc = self.pipeline
            self.pipeline = Gst.Pipeline()
            self.pipeline.add(rtc)
        self.rtc = self.pipeline.get_by_name("rtc")
        self.rtc.connect("notify::ice-gathering-state", self.gathered)
        self.rtc.connect("pad-added", self.receive)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", lambda _, message: self.stop(f"{message.parse_error()}"))

    def run(self) -> int:
        if self.mode == "play":
            for kind, caps in CAPS.items():
                caps = caps.format(name=self.codec.upper(), parameters=H264 if self.codec == "h264" else "")
                self.rtc.emit("add-transceiver", GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY, Gst.Caps.from_string(caps))
        self.rtc.connect("on-negotiation-needed", self.offer)
        GLib.timeout_add_seconds(DEADLINE, lambda: self.mode == "publish" or self.stop("too late"))
        for number in (signal.SIGINT, signal.SIGTERM):
            GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, number, self.stop, "stopped")
        self.pipeline.set_state(Gst.State.PLAYING)
        self.loop.run()
        if self.session:
            self.session.end()
        self.pipeline.set_state(Gst.State.NULL)
        return self.code

    def stop(self, why: str):
        print(f"gst.py {self.mode}: {why}; {self.count}", flush=True)
        self.loop.quit()

    def offer(self, rtc):
        if self.mode == "publish":
            for number in range(2):
                transceiver = rtc.emit("get-transceiver", number)
                transceiver.set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)
        rtc.emit("create-offer", None, Gst.Promise.new_with_change_func(self.offered, rtc))

    def offered(self, promise, rtc):
        # The offer is a part of the reply, which must not go before it.
        reply = promise.get_reply()
        rtc.emit("set-local-description", reply.get_value("offer"), None)

    def gathered(self, rtc, _):
        if rtc.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE and not self.session:
            self.session = Session(self.url, rtc.get_property("local-description").sdp.as_text())
            _, message = GstSdp.SDPMessage.new_from_text(self.session.answer)
            answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
            rtc.emit("set-remote-description", answer, None)

    def receive(self, _, pad):
        if pad.direction != Gst.PadDirection.SRC:
            return
        decoder = Gst.ElementFactory.make("decodebin")
        decoder.connect("pad-added", self.decoded)
        self.pipeline.add(decoder)
        decoder.sync_state_with_parent()
        pad.link(decoder.get_static_pad("sink"))

    def decoded(self, _, pad):
        sink = Gst.ElementFactory.make("fakesink")
        sink.set_property("signal-handoffs", True)
        sink.set_property("sync", False)
        sink.connect("handoff", self.counted)
        self.pipeline.add(sink)
        sink.sync_state_with_parent()
        pad.link(sink.get_static_pad("sink"))

    def counted(self, _, buffer, pad):
        caps = pad.get_current_caps().get_structure(0)
        if caps.get_name().startswith("video/"):
            self.count.frames += 1
        else:
            bytes_per_sample = 2 * caps.get_value("channels")
            self.count.samples += buffer.get_size() // bytes_per_sample
        if self.count.enough() and self.code:
            self.code = 0
            GLib.idle_add(self.stop, "done")


Gst.init(None)
sys.exit(Client(*sys.argv[1:4]).run())
