"""The network f of the paper's section 3.1: image encoder, text encoder, fusion encoder, and the EMA target network.

Shape suffixes used throughout: B pairs, N patches, P kept patches, L sub-words, D width, H heads, T tokens of a sequence.
"""
