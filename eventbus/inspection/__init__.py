"""A journal for people: `python -m eventbus journal`.

`command.py` has the commands. What they read comes from `_journal`, without a bus and beside the owner; what they
change goes through a bus of their own, as its owner.
"""
