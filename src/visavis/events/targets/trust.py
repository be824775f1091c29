"""Whom a target trusts to be who it says: TLS."""

from __future__ import annotations

import ssl

from visavis.errors import InputError
from visavis.files import printable_path, reason

__all__ = ["tls"]


def tls(ca: str | None) -> ssl.SSLContext:
    """Return how connections are encrypted: certificates and names are checked.

    Parameters
    ----------
    ca
        File with the certificates to trust, as PEM; None: those of the system.

    Raises
    ------
    InputError
        If that file can't be read or holds none.
    """
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:  # ssl.SSLError is one, too
        why = "it holds no certificate" if isinstance(error, ssl.SSLError) else reason(error)
        raise InputError(f"ca: {printable_path(ca or '')} can't be used: {why}") from None
