"""HTTP for programs that are not shells.

Requests come in on an event loop (`app.py` and the `*_routes.py`), their lines wait for a model
(`batcher.py`), and one thread of each model takes what waits and answers it together, by what
`decode` and `embed` answer with (`writing.py`, `answering.py`, `embedding.py`).
"""
