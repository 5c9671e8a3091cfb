"""The emoji corpus: four artists' pictures of the same concepts, with the Unicode Consortium's names for them."""
