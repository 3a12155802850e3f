"""The usage ledger: one record per exchange with a model, exactly once, whatever happens to the process.

Not here: what counts tokens and costs (the `usage` policy), reports (server/usage.py).
"""
