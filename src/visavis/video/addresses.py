"""Addresses of streams: what may be opened through which protocols, and how they are shown without their secrets."""

from __future__ import annotations

import re

__all__ = ["SCHEMES", "redacted", "scheme_of", "shown"]

_HTTP = "http,https,tcp,tls,httpproxy,crypto"
SCHEMES: dict[str, str] = {
    "rtsp": "rtsp,rtp,udp,tcp",
    "rtsps": "rtsp,rtp,srtp,udp,tcp,tls",
    "http": _HTTP,
    "https": _HTTP,
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,tls,tcp",
    "srt": "srt",
    "udp": "udp",
    "tcp": "tcp",
}
"""Of each scheme, FFmpeg's names of the protocols that its streams need: nothing else is opened for them, no file of
this machine least of all."""

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S*")
_START = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# Parameters that tell cameras and their streams apart; what any other says may be a secret.
_TOLD = (
    "(?:cam|camera|cameraid|ch|chan|channel|channelid|compression|fps|framerate|height|id|localport|latency|mode|"
    "overrun_nonfatal|pkt_size|pos|profile|proto|quality|resolution|size|stream|streamtype|subtype|transport|"
    "transportmode|type|unicast|videocodec|width)"
)
_PARAMETER = re.compile(rf"([/?&;#](?!{_TOLD}=)[^/=&;#?\s]*=)[^&;#\s]*", re.IGNORECASE)
_NAMELESS = re.compile(r"\?[^=&;#?\s]+(?=[&;#\s]|$)")


def scheme_of(text: str) -> str | None:
    """Return the scheme of an address, in lower case; None of what is no address.

    Examples
    --------
    >>> scheme_of("RTSP://10.0.0.7/main"), scheme_of("films/a.mp4")
    ('rtsp', None)
    """
    found = _START.match(text)
    return found[1].lower() if found else None


def redacted(text: str) -> str:
    """Return a text with the secrets of all addresses in it taken out: users, passwords, and what parameters say.

    Of an address with several ``@``, all up to the last is taken for user and password: rather too much is hidden than
    too little. Parameters that only tell streams apart (``channel``, ``subtype``, ``profile``...) stay.

    Examples
    --------
    >>> redacted("can't open rtsp://ada:s3cret@10.0.0.7/live?channel=1&token=abc again")
    "can't open rtsp://***@10.0.0.7/live?channel=1&token=*** again"
    """
    return _ADDRESS.sub(lambda found: _without_secrets(found[0], "***@"), text)


def shown(address: str) -> str:
    """Return what an address is called.

    Examples
    --------
    >>> shown("rtsp://ada:a secret/@10.0.0.7/live")
    'rtsp://10.0.0.7/live'
    """
    return "".join(c if c.isprintable() else "?" for c in _without_secrets(address, ""))


def _without_secrets(address: str, instead: str) -> str:
    scheme, _, rest = address.partition("://")
    _, at, place = rest.rpartition("@")
    place = _NAMELESS.sub("?***", _PARAMETER.sub(r"\1***", place))
    return f"{scheme}://{instead if at else ''}{place}"
