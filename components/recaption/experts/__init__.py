"""Experts: what is seen in a picture or said in a caption, each once, as columns that captions are fused of.

| scorer | what |
|---|---|
| `detector` | boxes with their labels, by a model of `transformers` |
| `regions` | ... as the sidecar has them: what people marked, or what is known of a composed scene |
| `foreground` | ... of the one thing on a plain ground, called by the pair's label |
| `region_colours` | the colours of what stands in each box |
| `region_attributes` | its material, state, ...: the words you name, by a dual encoder |
| `colours` | the colours of the whole picture |
| `caption_words` | nouns, phrases and names of a caption |

Text in the picture (`ocr_text`) and tags of the whole picture (`imagenet_tags`, `image_classifier`) are scorers of the
filter. Whoever sees boxes leaves three columns of lists, one value a box: `boxes`, `labels`, `scores`.
"""
