"""Captions of clips from what is said over them (HowToCaption; Shvetsova et al., 2023), in four steps.

| file | what | as |
|---|---|---|
| `blocks.py` | subtitles in blocks of at most 200 words; a text model's "12s: caption" lines | |
| `subtitle_captions.py` | each block -> timed captions | captioner |
| `windows.py` | embeddings of 8 s windows, and the best one within 10 s of each caption | |
| `caption_windows.py` | each timed caption -> its window and score | scorer |
| `caption_threshold.py` | the score that so many captions reach | selection |
| `timed_captions.py` | what reaches it, as WebVTT | captioner |
"""
