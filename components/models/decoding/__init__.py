"""Decoding: how tokens are chosen, for any model that goes on from what was said.

    found = beam_search(session, end=2, longest=16, width=4)              # (n, 4, t) tokens and their scores
    tokens = greedy(Guided(session_of_2n, 2.0), end=2, longest=16, processors=[NotTwiceRunning()])

| file | what |
|---|---|
| `session.py` | what is asked of a model (`Session`), and guidance as a session of two |
| `processors.py` | what may not, or must, be said: lengths, repetition, forbidden and required strings |
| `sampling.py` | one token after another: greedy, nucleus |
| `beam.py` | beam search, in diverse groups |
| `settings.py` | all of it as settings of a recipe |

Nothing here knows of pictures or of a model's class, so captioners, fusion and rewards use it alike.
"""
