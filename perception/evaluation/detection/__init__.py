"""How well detections match labels."""
