"""HTTP/1.1 on httptools' parser: a server for clients (server.py), connections to engines (pool.py).

Bare asyncio Protocols, because this is where a proxy's time goes: no framework stands between a socket and a
call. Knows bytes, limits and deadlines; nothing of what is asked and answered.
"""
