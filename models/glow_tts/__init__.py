"""GlowTTS: text to mel through an invertible flow, aligned by search instead of attention."""
