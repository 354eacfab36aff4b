"""Pictures of sensors, detections and attacks."""
