"""How a run's embedding looked at its end: does the network tell images apart?"""

from __future__ import annotations

from mscn_plugin.report.history import History
from mscn_plugin.training.hooks.embedding_statistics import WINDOW, told_apart


def about_embedding(history: History) -> str:
    """One line on the last logged steps, with a verdict where the network has learned nothing.

    Returns:
        Loss, mean similarities of an image's views and of different images, from -1 to 1; empty for
        a run without these statistics.
    """
    last = [line for line in history.statistics if "positive_similarity" in line][-WINDOW:]
    if not last:
        return ""
    same, others = (
        sum(line[key] for line in last) / len(last)
        for key in ("positive_similarity", "negative_similarity")
    )
    loss = f"loss {history.steps[-1]['loss']:.2f}, " if history.steps else ""
    text = (
        f"After iteration {last[-1]['iteration']}: {loss}similarity of views of one image "
        f"{same:.2f}, of different images {others:.2f}"
    )
    if not told_apart(same, others):
        return (
            f"{text}: the embedding does not tell images apart, the loss has taught little. Longer "
            "training, more images or a lower learning rate may help."
        )
    return f"{text}."
