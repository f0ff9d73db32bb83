"""One self-contained page about a pre-training run: settings, curves, kernels, neighbors."""
