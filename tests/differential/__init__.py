"""The proxy against a real vLLM: each generated request is sent both ways, and the answers are compared.

``make differential`` runs it long, against an engine of its own; the wheel's test runs it short.
"""
