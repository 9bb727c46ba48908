"""Requests in, rows out: the proxy, the spool, the drain and the trace store."""
