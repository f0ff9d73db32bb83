"""Export of a pre-trained trunk to other libraries and runtimes, and a check of every file."""
