"""Masked views in VISSL: transforms, the multimask collator, and the stage on the device."""
