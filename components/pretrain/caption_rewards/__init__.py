"""What captions may be tuned for, a reward a file (components/pretrain/self_critical); more come with plug-ins.

| file | reward |
|---|---|
| `clip_s.py` | CLIP-S of caption and picture |
| `grammar.py` | how grammatical a caption is |
| `self_retrieval.py` | how surely the caption finds its picture, among the batch and mined neighbours |
| `bags.py` | ... among pictures more and more like it |
| `preference.py` | what people are said to prefer |
| `answers.py` | whether a question is answered by the caption alone |

`retriever.py` is what those share that ask a frozen dual encoder, `pool.py` the pictures that look like another.
"""
