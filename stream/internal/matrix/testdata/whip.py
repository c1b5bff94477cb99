"""Publishes a test picture and a tone by WHIP with GStreamer's webrtcbin, until it is killed.

usage: whip.py ENDPOINT VIDEO [trickle]

VIDEO is an encoder and its payloader, of payload type 96. Candidates are in the offer; with
trickle each comes after it, by PATCH (RFC 8840), and the offer has none.
"""

import sys
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC

endpoint, video, trickle = sys.argv[1], sys.argv[2], len(sys.argv) > 3
Gst.init(None)
pipe = Gst.parse_launch(
    "webrtcbin name=w bundle-policy=max-bundle"
    " videotestsrc is-live=true ! video/x-raw,format=I420,width=320,height=240,framerate=25/1"
    f" ! {video} ! application/x-rtp,media=video,payload=96,rtcp-fb-nack-pli=true ! queue ! w."
    " audiotestsrc is-live=true ! audio/x-raw,rate=48000,channels=2 ! opusenc ! rtpopuspay pt=97"
    " ! application/x-rtp,media=audio,encoding-name=OPUS,payload=97 ! queue ! w."
)
web = pipe.get_by_name("w")
session = None  # URL and entity tag, once the server has answered
waiting = []  # candidates that were found before that


def send(method, url, kind, body, **headers):
    request = urllib.request.Request(url, body.encode(), {"Content-Type": kind, **headers}, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers, answer.read().decode()


def local():
    return web.get_property("local-description").sdp.as_text()


def post():
    global session
    headers, answer = send("POST", endpoint, "application/sdp", local())
    session = urllib.parse.urljoin(endpoint, headers["Location"]), headers["ETag"]
    _, sdp = GstSdp.SDPMessage.new_from_text(answer)
    description = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, sdp)
    web.emit("set-remote-description", description, Gst.Promise.new())
    for line, text in waiting:
        patch(line, text)


def patch(line, text):
    lines = local().splitlines()
    ice = [next(l for l in lines if l.startswith("a=" + name)) for name in ("ice-ufrag:", "ice-pwd:")]
    media = [l for l in lines if l.startswith("m=")][line]
    mid = [l for l in lines if l.startswith("a=mid:")][line]
    fragment = "\r\n".join([*ice, media, mid, "a=" + text, ""])
    send("PATCH", session[0], "application/trickle-ice-sdpfrag", fragment, **{"If-Match": session[1]})


def offered(promise):
    reply = promise.get_reply()
    description = reply.get_value("offer")
    done = Gst.Promise.new()
    web.emit("set-local-description", description, done)
    done.interrupt()
    if trickle:
        GLib.idle_add(post)


def negotiate(_):
    web.disconnect(negotiation)  # once is enough
    for i in range(2):
        transceiver = web.emit("get-transceiver", i)
        transceiver.set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)
    web.emit("create-offer", None, Gst.Promise.new_with_change_func(offered))


def found(_, line, text):
    if session:
        GLib.idle_add(patch, line, text)
    else:
        waiting.append((line, text))


def gathered(*_):
    if web.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
        GLib.idle_add(post)


def failed(_, message):
    print(message.parse_error(), file=sys.stderr)
    loop.quit()


loop = GLib.MainLoop()
bus = pipe.get_bus()
bus.add_signal_watch()
bus.connect("message::error", failed)
negotiation = web.connect("on-negotiation-needed", negotiate)
if trickle:
    web.connect("on-ice-candidate", found)
else:
    web.connect("notify::ice-gathering-state", gathered)
pipe.set_state(Gst.State.PLAYING)
loop.run()
sys.exit(1)
