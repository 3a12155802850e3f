"""Pins: which definitions of servers' tools are approved, kept in the store, and the lock file that says so in Git.

Not here: what is held back and when (the policy tool-pinning), how people look at it (server/tools.py).
"""
