"""GlowTTS: text to mel through an invertible flow, with alignments found by search instead of attention."""
