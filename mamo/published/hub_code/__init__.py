"""Code in an exported folder for transformers: config, model and processor, as its Auto classes load them.

:mod:`mamo.published.code` copies these modules, and those of the package that they import, beside the weights. So they, and
all that they import, use torch, numpy, Pillow and transformers alone.
"""
