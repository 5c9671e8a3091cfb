"""One captioner: tokens of whatever is told of a pair, and a decoder that goes on from them.

    model = load_captioner("workspace/models/…")
    model.generate({"image": features, "level": levels}, Decoding(guidance=2.0))       # [[caption], ...]

| file | what |
|---|---|
| `prefix.py` | what is told, as tokens: vectors (picture, frames, spectrogram, text embedding), numbers, words, boxes |
| `memory.py` | phrases of a shared space, of which the nearest are told as well |
| `tokens.py` | captions as tokens: words counted here, or a language model's tokenizer |
| `decoder.py` | what goes on from the prefix, learnt from nothing, over a key-value cache |
| `pretrained.py` | ... or a language model of `transformers`, frozen |
| `captioner.py` | all of it as one model: logits, sessions of decoding, captions |
| `folder.py` | to disk and back |

What a pair lacks is masked, and takes no place: a prefix with holes says what the same prefix without them says.
How published systems fall into this (31, 14, 12, 13, 27, 57, 38 and 23 stand; the others are plans):

- NoC (31): the picture, and a level (`control`, a number).
- Guided captioning (14): the picture, left out for a share of the pairs; `Guided` decoding.
- User-aware prefix (20): the picture, a user's words by TF-IDF as `prompt`, a frozen language model; the mapping
  becomes query-guided, in `prefix.py`.
- RS-CapRet (46): a frozen language model; its [RET] token's hidden state needs a second loss in a task of its own.
- PromptCap (48): the question as `prompt`, after a filter of its data.
- CNM (52): a `Decoder` of its own that fuses four modules' parts at each word.
- CLOSE (57): `image` is a caption's text embedding, with noise drawn in `encode`; afterwards a picture's. So are
  MultiCapCLIP (38), told a memory's concepts and a language, and zero-shot audio captioning (23), told its words.
- Tuned by rewards (12, 13, 27): a task of its own, `self_critical`, decodes by nucleus at top_p 1 and greedily; its
  loss is over `logits` of what was said.
"""
