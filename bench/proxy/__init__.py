"""What the proxy costs, beside what people would use instead; ``make bench-proxy``.

One core for the proxy that is measured, the other cores for the load and for the canned engines. Everything
runs in turns on one machine, so read the ratios: a rate says more about the machine than about the proxy.
"""
