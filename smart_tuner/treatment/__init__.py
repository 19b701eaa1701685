"""From a diagnosis to interventions and their follow-up."""
