"""Views of the trail: the decision log, the history, metrics and spans.

recorder.py hands each finished trail to all of them; log.py also holds the process's own log.

Not here: what is in a trail (trail.py), who serves the views (server/admin.py).
"""
