"""The scripts which made the embedded model: pictures and captions, training, evaluation."""
