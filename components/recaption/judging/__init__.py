"""Judging captions by what is known of their pictures: a score each, votes among several, and a repair.

| component | what |
|---|---|
| `caption_judge` (scorer) | how good a caption is, 1 to 6 |
| `caption_votes` (scorer) | which of several captions several judges prefer |
| `repair` (captioner) | a caption without numbers that nothing told of |
| `support.py` | what of a text stands in others, which the offline judges go by |

A text model judges where one is named; the default goes by `support.py` alone.
"""
