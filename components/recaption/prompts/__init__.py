"""Prompts: what a text model is told, one file each, with its version on the first line.

    version: 1

    Write one caption of a picture, from the evidence given as JSON on the last line.

A captioner has its own and a recipe may name another: `prompt: fuse` is the house's, `prompt: ./mine.txt` a file of
one's own. Version and text are in the step's digest, the file's place is not: an edited prompt makes the captions anew.
`$name` is filled in by the captioner that asks (`Prompt.told`); `$$` is a dollar.
"""
