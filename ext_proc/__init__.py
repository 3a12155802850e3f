"""Gatehouse: an Envoy external-processing service that understands and governs AI payloads.

The ladder of words is Event -> Message -> Checkpoint -> Verdict -> Decision -> Reply; docs/architecture.md
walks one exchange through it. Plug-in authors import from `ext_proc.policy` and test with `ext_proc.testing`.
"""

__version__ = "0.1.0"
