"""What outlives an exchange: keyed state with expiry, behind one interface (store.py).

Not here: what is kept, and for how long (the policies).
"""
