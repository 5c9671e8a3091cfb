"""Models that answer a picture and a text together: "this, but blue"."""
