"""People in pictures: which pictures have a face, a body and a background to tell of, a caption of each, and of all.

| component | what |
|---|---|
| `human_router` (scorer) | the box of the face and of the body, and how much background; what is missing, and why |
| `part_caption` (captioner) | one part, in words |
| `merge_parts` (captioner) | the parts as one caption of a format's length |
"""
