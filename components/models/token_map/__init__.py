"""From a shared space into a language model's own: what SITTA (Paischer et al., 2023) needs, without a gradient.

| file | what |
|---|---|
| `language.py` | a language model as words with vectors, and as what goes on from some of them |
| `token_map.py` | the linear map between both spaces: fitted, asked, to disk and back |
"""
