"""Metrics of captions without Java: pure functions of tokens, of texts or of similarities, one file a metric.

    said, held = [tokens_of("a dog runs")], [[tokens_of("a dog is running"), tokens_of("the dog runs")]]
    cider_d(said, held)                   # one a caption, from 0 to 10
    bleu(said, held).corpus()             # BLEU-1 to BLEU-4 of all captions together

| file | what | held against |
|---|---|---|
| `tokens.py` | words as COCO's evaluation counts them | Stanford's PTBTokenizer, differences named there |
| `bleu.py`, `rouge.py`, `cider.py` | BLEU-1 to 4, ROUGE-L, CIDEr-D | pycocoevalcap's scorers |
| `meteor.py`, `porter.py`, `wordnet.py` | METEOR of 2007, by words, stems and, with a lexicon, synonyms | NLTK's |
| `distinct.py`, `repetition.py` | how varied captions are; how often one repeats itself | |
| `objects.py`, `chair.py`, `pope.py` | names of things in a caption; things that are not there, said or assented to | |
| `entities.py` | which of a text's names and numbers a caption keeps | |
| `clip_score.py`, `self_retrieval.py` | CLIPScore, RefCLIPScore; does a caption find its picture among others | |

`python -m benchmarks.oracle_captions` installs the oracles in an environment of their own and holds all of these
against them; what they said once is frozen in tests/unit/caption_metrics. A caption that says nothing scores 0, even
against a reference that says nothing: never perfect.
"""
