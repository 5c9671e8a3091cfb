"""One captioner: tokens of whatever is told of a pair, and a decoder that goes on from them.

    model = load_captioner("workspace/models/…")
    model.generate({"image": features, "level": levels}, Decoding(guidance=2.0))       # [[caption], ...]

| file | what |
|---|---|
| `prefix.py` | what is told, as tokens: vectors (picture, frames, spectrogram, text embedding), numbers, words, boxes |
| `mapping.py` | how vectors become tokens: each by itself, or asked of by queries; and how tokens are fused |
| `memory.py` | phrases of a shared space, of which the nearest are told as well |
| `tokens.py` | captions as tokens: words counted here, or a language model's tokenizer |
| `decoder.py` | what goes on from the prefix, learnt from nothing, over a key-value cache |
| `neural_modules.py` | ... whose modules a controller weighs at each word |
| `pretrained.py` | ... or a language model of `transformers`, frozen |
| `captioner.py` | all of it as one model: logits, sessions of decoding, captions |
| `caption_and_retrieve.py` | a frozen one that finds pictures, too |
| `folder.py` | to disk and back; starting from another one |
| `vision_tower.py` | patches of a tower of `transformers`, of a layer within |
| `tower_captioner.py` | a captioner with such a tower of its own, which is trained with it |

What a pair lacks is masked, and takes no place: a prefix with holes says what the same prefix without them says.
How published systems fall into this (all of them stand):

- NoC (31): the picture, and a level (`control`, a number).
- Formats (28): the picture, a format (a number), and the alt-text as `prompt` for the format that fuses it.
- RECAP (11): the task `captioner` again, `init: step:NAME`, on few captions; words it did not know are new rows.
- ShareGPT4V (42): the picture's patches, by a tower that is tuned from a block on.
- Guided captioning (14): the picture, left out for a share of the pairs; `Guided` decoding.
- User-aware prefix (20): the picture through `queries`, a `user`'s words by TF-IDF, `fusion`, a frozen language model.
- RS-CapRet (46): a frozen language model; its [RET] token's state has a second loss, in a task of its own.
- PromptCap (48): the question as `prompt`, once captions were chosen that answer it (recaption's `question_caption`).
- CNM (52): a `Decoder` of its own that weighs four modules over the picture's parts at each word, in the task `cnm`.
- CLOSE (57): `image` is a caption's text embedding, with noise drawn in `encode`; afterwards a picture's. So are
  MultiCapCLIP (38), told a memory's concepts and a language, and zero-shot audio captioning (23), told its words.
- Tuned by rewards (12, 13, 27): a task of its own, `self_critical`, decodes by nucleus at top_p 1 and greedily; its
  loss is over `logits` of what was said.
"""
