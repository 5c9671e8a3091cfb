"""Made sounds: what is heard in each is known."""
