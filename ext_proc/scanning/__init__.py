"""Scanning: what a text hides, what it tells a model to do, and which names look alike; for policies.

hidden.py finds characters that people do not see, visible.py shows them, instructions.py flags sentences that speak to
a model (by the rules of rules.py, over the text as folding.py reads it), names.py compares names.

Rules:
- Pure functions over text: no state, no I/O, no clock. Offsets are those of the text that was handed over.
- Whatever the text, time is linear in its length and so is memory.

Not here: which texts are looked at and what follows from a finding (the policies).
"""
