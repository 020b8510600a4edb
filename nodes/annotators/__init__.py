"""What preprocessors compute with: pictures at a resolution, detectors and their weight files; no node."""
