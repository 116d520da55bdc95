"""A WHIP or WHEP session over HTTP (RFC 9725), for both clients, and how long they try."""

import sys
import urllib.error
import urllib.parse
import urllib.request

# What a player must have decoded, and the seconds after which it has failed. Generous: only failures wait that long.
FRAMES, SAMPLES = 60, 96_000
DEADLINE = 120


class Session:
    def __init__(self, url: str, offer: str):
        request = urllib.request.Request(url, offer.encode(), {"Content-Type": "application/sdp"}, method="POST")
        try:
            with urllib.request.urlopen(request) as response:
                self.url = urllib.parse.urljoin(url, response.headers["Location"])
                self.answer = response.read().decode()
        except urllib.error.HTTPError as error:
            sys.exit(f"{url}: {error.code} {error.read().decode()}\n{offer}")

    def end(self):
        urllib.request.urlopen(urllib.request.Request(self.url, method="DELETE")).close()


class Count:
    """What has been decoded."""

    def __init__(self):
        self.frames = self.samples = 0

    def enough(self) -> bool:
        return self.frames >= FRAMES and self.samples >= SAMPLES

    def __str__(self) -> str:
        return f"{self.frames} frames and {self.samples} samples decoded"
