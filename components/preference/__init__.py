"""Human preference: candidate captions, a page to judge them on, and the labels as columns.

Compress & Align (Zhang et al., 2023): several captions of one image are judged by people under written
criteria, and a reward model learns from the judgements. Here stand the first two steps; the reward
model reads the column `judgements` that `labels` makes.
"""
