"""Generated demo corpus: random sentences, synthesized by espeak-ng."""
