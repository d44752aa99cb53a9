"""The embedded world: generated releases of every data set of the paper, in their official layouts.

Scenes of up to five drawn objects on a board; captions, questions, statements and expressions come from a grammar, and an
oracle decides from the scene alone what is true. The releases are read by the same loaders as the real ones.

LICENSE-ARTWORK: the objects are drawn with glyphs of OpenMoji, the open-source emoji and icon project, recoloured
(https://openmoji.org, licence CC BY-SA 4.0, https://creativecommons.org/licenses/by-sa/4.0/). Generated images are adapted
works of these glyphs and come under the same licence.
"""
