"""A small sequence-to-sequence model that says words of its own or copies words it was given.

    model = load_copying(folder)
    model.write([{"web": "Mohu, red panda", "synthetic": "a small animal on a branch"}])
                                                          # ["a small animal, Mohu, red panda, on a branch"]

| file | what |
|---|---|
| `source.py` | what is given as tokens: words with their case, unknown ones numbered behind the known |
| `model.py` | the model, and its session of decoding |
| `folder.py` | to disk and back |
"""
