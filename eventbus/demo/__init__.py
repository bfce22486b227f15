"""A small shop on one bus: `python -m eventbus demo`.

Read `shop.py` first, then `orders.py`, `billing.py`, `shipping.py`, `mailing.py` and `audit.py`. None of these five
imports another: they share what is in `messages.py`, and meet on topics and queues.
"""
