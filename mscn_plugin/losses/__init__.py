"""Losses over masked views: K0 + K1 sets of embeddings, compared across two branches (4.5)."""
