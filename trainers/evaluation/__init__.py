"""The evaluation of detections with the COCO metrics; numpy only."""
