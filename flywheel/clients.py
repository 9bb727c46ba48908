"""Clients of servers that speak OpenAI's protocol: engines, and the proxy itself.

Knows how a client is made; who is asked, with which key and how patiently is the caller's.
"""

from __future__ import annotations

import functools
import ssl

import openai


def client(base_url: str, key: str, *, timeout: float, tries: int = 1) -> openai.OpenAI:
    """A client of the server at ``base_url`` (without ``/v1``); seconds before it gives up, tries in all."""
    return openai.OpenAI(
        base_url=f"{base_url.rstrip('/')}/v1",
        api_key=key or "none",
        timeout=timeout,
        max_retries=tries - 1,
        http_client=openai.DefaultHttpxClient(verify=_authorities(), timeout=timeout),
    )


@functools.cache
def _authorities() -> ssl.SSLContext:
    """Whom to trust: read once, since it takes 25 ms and a page may ask several engines."""
    return ssl.create_default_context()
