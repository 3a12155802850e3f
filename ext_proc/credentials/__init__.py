"""How callers are known: from what a request presents to a verified identity, or to a refusal.

Each source of identity is a file; chain.py asks them in the bundle's order. Nothing here does I/O or knows a clock:
keys are handed in by whoever fetches them (server/keys.py), and time comes with what is presented.
"""
